"""One BLAS thread per worker.

Two threads split a matrix product differently from one and so change its last bits; and W workers with one thread each use
a machine better than one worker with W threads. numpy and scipy carry a BLAS each: both are limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg.blas  # noqa: F401  loaded first, or the controller would not know its BLAS

    return ThreadpoolController()


class _Limit:
    """The limit, and how many threads of Python want it: the first lays it down, the last takes it away."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._undo = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._undo.enter_context(_controller().limit(limits=1, user_api="blas"))
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._undo.close()


_LIMIT = _Limit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit every BLAS of this process to one thread inside the block; may be nested, and used by several threads at once."""
    with _LIMIT:
        yield


def set_one_blas_thread() -> None:
    """Limit every BLAS of this process to one thread for good (a worker process)."""
    _controller().limit(limits=1, user_api="blas")
