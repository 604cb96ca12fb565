"""Work beside this thread's: a checkpoint is written, and waits for the disk, while the next steps are made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Beside(Generic[Result]):
    """A call that another thread makes, from now on."""

    def __init__(self, call: Callable[[], Result]) -> None:
        self._call = call
        self._returned: list[Result] = []
        self._raised: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="dbp-beside")
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether it has ended, however."""
        return not self._thread.is_alive()

    def wait(self) -> Result:
        """Wait for its end; return what it returned, or raise what it raised. It can be asked again."""
        self._thread.join()
        if self._raised:
            raise self._raised[0]
        return self._returned[0]

    def _run(self) -> None:
        try:
            self._returned.append(self._call())
        except BaseException as error:
            self._raised.append(error)
