"""Saving while storage fails. A checkpoint that cannot be written is a warning, and training goes on; several in a row end it.

What a run cannot do without (its last checkpoint, its model, the word that it is done) is tried again after a pause. Where that
does not help, the run fails with one sentence: what, where, what is safe, what next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from typing import TYPE_CHECKING, Protocol, TypeVar

from dbp.errors import StorageError, StorageFailedError

if TYPE_CHECKING:
    from dbp.training.coordinator import Progress

MOST_FAILURES = 3  # checkpoints in a row
PAUSES_S = (0.5, 2.0)  # before the second and the third try of what a run cannot do without

Warn = Callable[[str], None]
Result = TypeVar("Result")


class ProgressStore(Protocol):
    """Where progress is kept safe."""

    def save(self, progress: Progress) -> None:
        """Return only when the progress would survive a crash. StorageError where that cannot be."""
        ...


def persistently(act: Callable[[], Result], warn: Warn) -> Result:
    """Return what `act` returns; where it raises StorageError try again, three times in all."""
    for pause in PAUSES_S:
        try:
            return act()
        except StorageError as error:
            warn(f"{error}; trying again in {pause:g} s")
            sleep(pause)
    return act()


@contextmanager
def failing_with(safe: str) -> Iterator[None]:
    """Turn a StorageError into the failure of the run; `safe` says what is safe and what to do next."""
    try:
        yield
    except StorageError as error:
        raise StorageFailedError(f"{error}; {safe}") from error


class Saving:
    """Saves a run's progress in `store`; `warn` hears of failures. `start` is the step of the checkpoint it goes on from, or 0."""

    def __init__(self, store: ProgressStore, warn: Warn, start: int) -> None:
        self._store, self._warn = store, warn
        self._failures = 0
        self._safe = start
        self.saved = -1  # the newest step that this run saved

    def checkpoint(self, progress: Progress) -> None:
        """Save progress if that can be done now. StorageFailedError when it could not for the third time in a row."""
        if self._failures == MOST_FAILURES - 1:
            self.surely(progress)
            return
        try:
            self._save(progress)
        except StorageError as error:
            self._failures += 1
            self._warn(
                f"checkpoint of step {progress.step} not written: {error}; training goes on, {self._kept()}, and the next "
                f"checkpoint is tried in its turn ({self._failures} failed in a row; {MOST_FAILURES} end the run)"
            )

    def surely(self, progress: Progress) -> None:
        """Save progress, unless it is saved; StorageFailedError when it cannot be, though it was tried several times."""
        if progress.step == self.saved:
            return
        again = f" ({self._failures + 1} checkpoints in a row failed)" if self._failures else ""
        with failing_with(
            f"the checkpoint of step {progress.step} could not be written{again}, so the run ends; {self._kept()}. "
            "See to the storage, then go on with `dbp resume`"
        ):
            persistently(lambda: self._save(progress), self._warn)

    def _save(self, progress: Progress) -> None:
        self._store.save(progress)
        self.saved = self._safe = progress.step
        self._failures = 0

    def _kept(self) -> str:
        return f"the one of step {self._safe} is kept" if self._safe > 0 else "there is none yet"
