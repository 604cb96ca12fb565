"""A thread that makes one call after the other beside the thread that asks for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")


class SideThread:
    """Starts with the first call, and lasts until `end`.

    An executor of `concurrent.futures` takes no more calls once the main thread has ended: whoever trains in another
    thread outlives that one.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()  # Any: each call's own
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Have a call made, after those before it."""
        future: Future[Result] = Future()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name)
            self._thread.start()
        self._calls.put((call, future))
        return future

    def end(self, patience: float | None) -> None:
        """Let the thread end after the calls there are, and wait for that, `patience` seconds at most (None: however long)."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join(patience)

    def _work(self) -> None:
        while (asked := self._calls.get()) is not None:
            call, future = asked
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
