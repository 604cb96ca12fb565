"""The kernel fingerprint: one per kind of kernel, whatever the process and its threads."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys

import pytest
import scipy.linalg.blas
from threadpoolctl import threadpool_info, threadpool_limits

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


def _core_types() -> set[str]:
    """Return the kinds of processor that the OpenBLAS libraries of this process compute for."""
    assert scipy.linalg.blas is not None  # loaded, and so counted
    return {pool["architecture"] for pool in threadpool_info() if pool["internal_api"] == "openblas"}


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


def test_another_for_kernels_of_another_processor() -> None:
    """OpenBLAS told to compute as for a Haswell gives other last bits: that is what the fingerprint is for."""
    if "OPENBLAS_CORETYPE" in os.environ or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the kernels of another x86 processor cannot be asked for here")
    if not _core_types() or _core_types() & {"Haswell", "Zen"}:
        pytest.skip(f"this machine computes with Haswell's kernels already, or without OpenBLAS: {_core_types()}")
    assert _elsewhere(OPENBLAS_CORETYPE="Haswell") != kernel_fingerprint()
