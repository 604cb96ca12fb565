"""Waiting for the disk once instead of twice: one file is made safe while another is written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Beside:
    """A call that another thread makes."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._raised: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="dbp-beside")

    def start(self) -> None:
        """Begin it."""
        self._thread.start()

    def wait(self) -> None:
        """Return when it has ended; raise what it raised."""
        self._thread.join()
        if self._raised:
            raise self._raised[0]

    def end(self) -> None:
        """Return when it has ended, however."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self._raised.append(error)


@contextmanager
def alongside(call: Callable[[], None] | None) -> Iterator[Callable[[], None]]:
    """Make a call in another thread while the block runs; lend a function that waits for its end and raises what it raised.

    However the block ends, the call has ended, too. None: there is nothing to wait for.
    """
    if call is None:
        yield lambda: None
        return
    beside = Beside(call)
    beside.start()
    try:
        yield beside.wait
    finally:
        beside.end()
