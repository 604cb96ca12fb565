"""The kernel fingerprint: one for every process and machine, another where the arithmetic is another."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_limits

from dbp.network import compiled_network
from dbp.sums.fingerprint import kernel_fingerprint

PRINT = "from dbp.sums.fingerprint import kernel_fingerprint; print(kernel_fingerprint())"


def _elsewhere(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_same_in_this_process_time_and_again() -> None:
    """16 hex digits; how many threads the BLAS may have otherwise does not matter."""
    found = kernel_fingerprint()
    assert re.fullmatch("[0-9a-f]{16}", found)
    assert kernel_fingerprint() == found
    with threadpool_limits(limits=3, user_api="blas"):
        assert kernel_fingerprint() == found


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_same_in_a_fresh_process(threads: str) -> None:
    """Whatever its hash seed and its number of threads."""
    assert _elsewhere(OPENBLAS_NUM_THREADS=threads, PYTHONHASHSEED=threads) == kernel_fingerprint()


@pytest.mark.parametrize("core_type", ["Haswell", "Nehalem"])
def test_the_same_whatever_processor_blas_takes_it_for(core_type: str) -> None:
    """No sum of the kernel goes through BLAS, whose instructions, and last bits, differ from one CPU type to the next."""
    assert _elsewhere(OPENBLAS_CORETYPE=core_type) == kernel_fingerprint()


def test_another_for_another_order_of_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer blocks begin their sums anew at other rows: other last bits, and the fingerprint shows it."""
    before = kernel_fingerprint()
    monkeypatch.setattr(compiled_network, "BLOCK_ROWS", 64)
    assert kernel_fingerprint() != before
