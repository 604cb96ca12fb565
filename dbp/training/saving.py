"""Saving while training goes on, and while storage fails.

A checkpoint is written beside the steps that follow it, one at a time; it counts, and the run's observer hears of it, once it
is safe. One that cannot be written is a warning, and training goes on; several in a row end it.

What a run cannot do without (its last checkpoint, its model, the word that it is done) is tried again after a pause. Where that
does not help, the run fails with one sentence: what, where, what is safe, what next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar

from dbp.errors import StorageError, StorageFailedError
from dbp.storage.side_thread import SideThread

if TYPE_CHECKING:
    from dbp.training.coordinator import Progress

MOST_FAILURES = 3  # checkpoints in a row
INTERRUPTED_S = 2.0  # so long an interrupted run waits for a checkpoint that is being written; else as long as it takes
PAUSES_S = (0.5, 2.0)  # before the second and the third try of what a run cannot do without

Warn = Callable[[str], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Saved:
    """What a store says of progress that is safe."""

    step: int
    path: Path
    seconds: float  # that it took
    warnings: tuple[str, ...] = ()


class ProgressStore(Protocol):
    """Where progress is kept safe."""

    def save(self, progress: Progress) -> Saved:
        """Return only when the progress would survive a crash. StorageError where that cannot be.

        Called in a thread of its own while training goes on, once at a time.
        """
        ...


class UnderWay(Protocol):
    """A save that has begun: a `Future`, as far as it is asked here."""

    def done(self) -> bool:
        """Whether it has ended, however."""
        ...

    def result(self, timeout: float | None = None) -> Saved:
        """Wait for its end; return what it returned, or raise what it raised. It can be asked again.

        TimeoutError where it has not ended after so many seconds.
        """
        ...


Begin = Callable[[Callable[[], Saved]], UnderWay]  # makes a call beside training


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
    """Saves a run's progress in `store`, in a `with` block that ends when no save is under way any more, or is interrupted.

    `told` hears of what is safe, `warn` of failures, both in the thread that calls. `start` is the step of the checkpoint that
    the run goes on from, or 0. Saves are made by `begin`, or by a thread of their own.
    """

    def __init__(
        self, store: ProgressStore, told: Callable[[Saved], None], warn: Warn, start: int, begin: Begin | None = None
    ) -> None:
        self._store, self._told, self._warn = store, told, warn
        # One thread for all of them: starting one takes longer than telling it.
        self._thread = SideThread("dbp-checkpoints")
        self._begin: Begin = begin or self._thread.submit
        self._under_way: tuple[int, UnderWay] | None = None  # the step, and its save
        self._failures = 0
        self._safe = start
        self.saved = -1  # the newest step that this run saved

    def __enter__(self) -> Saving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is under way; what goes wrong with it is told with the error that ends the block.

        Whoever interrupts wants it to end now: after some seconds the save is left to itself. It ends well, or leaves nothing.
        """
        patience = INTERRUPTED_S if isinstance(error, KeyboardInterrupt) else None
        try:
            self.settle(ending=True, patience=patience)
        except Exception as problem:
            if error is None:
                raise
            if self._under_way is not None:
                error.add_note(f"the checkpoint of step {self._under_way[0]} was still being written; {self._kept()}")
            elif problem is not error:  # a lost lease ends the run and its checkpoint with the same word
                error.add_note(str(problem))
        finally:
            self._thread.end(patience if self._under_way is None else 0.0)

    def checkpoint(self, progress: Progress) -> None:
        """Begin to save progress, once the save before has ended. StorageFailedError when it fails for the third time in a row.

        The arrays of `progress` are read while training goes on: nobody may write into them.
        """
        self.settle()
        if self._failures == MOST_FAILURES - 1:
            self.surely(progress)
        else:
            self._under_way = progress.step, self._begin(lambda: self._store.save(progress))

    def look(self) -> None:
        """Take note of how the save under way ended, if it has."""
        if self._under_way is not None and self._under_way[1].done():
            self.settle()

    def settle(self, ending: bool = False, patience: float | None = None) -> None:
        """Wait for the save under way, if there is one, and take note of how it ended; raises what is no trouble with storage.

        `ending`: no steps follow. TimeoutError where it has not ended after `patience` seconds.
        """
        if self._under_way is None:
            return
        step, save = self._under_way
        try:
            saved = save.result(patience)
        except StorageError as error:
            self._under_way = None
            self._failed(step, error, ending)
        except Exception:
            if save.done():
                self._under_way = None
            raise
        else:
            self._under_way = None
            self._note(saved)

    def surely(self, progress: Progress) -> None:
        """Save progress, unless it is saved; StorageFailedError when it cannot be, though it was tried several times."""
        self.settle(ending=True)
        if progress.step == self.saved:
            return
        again = f" ({self._failures + 1} checkpoints in a row failed)" if self._failures else ""
        with failing_with(
            f"the checkpoint of step {progress.step} could not be written{again}, so the run ends; {self._kept()}. "
            "See to the storage, then go on with `dbp resume`"
        ):
            self._note(persistently(lambda: self._store.save(progress), self._warn))

    def _note(self, saved: Saved) -> None:
        self.saved = self._safe = saved.step
        self._failures = 0
        for text in saved.warnings:
            self._warn(text)
        self._told(saved)

    def _failed(self, step: int, error: StorageError, ending: bool) -> None:
        self._failures += 1
        then = f"training goes on, {self._kept()}, and the next checkpoint is tried in its turn"
        self._warn(
            f"checkpoint of step {step} not written: {error}; {self._kept() if ending else then} "
            f"({self._failures} failed in a row; {MOST_FAILURES} end the run)"
        )

    def _kept(self) -> str:
        return f"the one of step {self._safe} is kept" if self._safe > 0 else "there is none yet"
