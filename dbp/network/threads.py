"""One BLAS thread per worker.

Two threads split a matrix product differently from one and so change its last bits; and W workers with one thread each use
a machine better than one worker with W threads. numpy and scipy carry a BLAS each: both are limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg.blas  # noqa: F401  loaded first, or the controller would not know its BLAS

    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit every BLAS of this process to one thread inside the block."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


def set_one_blas_thread() -> None:
    """Limit every BLAS of this process to one thread for good (a worker process)."""
    _controller().limit(limits=1, user_api="blas")
