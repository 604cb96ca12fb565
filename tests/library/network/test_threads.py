"""One BLAS thread: inside the context, for every BLAS of the process, and as before behind it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest
import scipy.linalg.blas
from threadpoolctl import threadpool_info, threadpool_limits

from dbp.network.threads import one_blas_thread

THREADS = "[pool['num_threads'] for pool in threadpool_info() if pool['user_api'] == 'blas']"


def _threads() -> list[int]:
    assert scipy.linalg.blas is not None  # both BLAS are there to be counted
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Two threads per BLAS to begin with, also on a machine of one core."""
    with threadpool_limits(limits=2, user_api="blas"):
        assert set(_threads()) == {2}
        yield


def test_one_thread_inside_and_as_before_behind() -> None:
    """numpy's BLAS and scipy's alike."""
    before = _threads()
    with one_blas_thread():
        assert _threads() == [1] * len(before)
    assert _threads() == before


def test_as_before_behind_an_error() -> None:
    """An exception that leaves the block takes no limit along."""
    before = _threads()
    with pytest.raises(KeyError), one_blas_thread():
        raise KeyError
    assert _threads() == before


def test_one_inside_another() -> None:
    """The inner one's end leaves the outer one's limit in force."""
    before = _threads()
    with one_blas_thread():
        with one_blas_thread():
            assert set(_threads()) == {1}
        assert set(_threads()) == {1}
    assert _threads() == before


@pytest.mark.parametrize("first", ["import numpy", "import scipy.linalg.blas", "import dbp.network.threads"])
def test_for_good_in_a_process_of_its_own(first: str) -> None:
    """Whichever library is loaded first; what the environment says does not matter."""
    code = (
        f"{first}\n"
        "import numpy, scipy.linalg.blas\n"
        "from dbp.network.threads import one_blas_thread, set_one_blas_thread\n"
        "from threadpoolctl import threadpool_info, threadpool_limits\n"
        "threadpool_limits(limits=2, user_api='blas')\n"
        f"before = {THREADS}\n"
        "set_one_blas_thread()\n"
        f"inside = {THREADS}\n"
        "with one_blas_thread(): pass\n"
        f"print([before, inside, {THREADS}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, inside, after = ast.literal_eval(done.stdout)
    assert set(before) == {2}
    assert inside == after == [1] * len(before)


def test_limits_that_overlap_without_nesting_keep_each_other() -> None:
    """As with two threads of Python: the first to end does not end the other's, and the last restores what was."""
    before, one, other = _threads(), one_blas_thread(), one_blas_thread()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert set(_threads()) == {1}
    other.__exit__(None, None, None)
    assert _threads() == before
