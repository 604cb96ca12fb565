"""A checkpoint beside training, in virtual time: it is written at once, or some steps later, as the seed has it.

What a thread does to the disk and what training does meanwhile have nothing in common; so it is enough to move the whole save.
"""

from __future__ import annotations

from collections.abc import Callable

from dbp.errors import StorageError
from dbp.training.saving import Saved
from simulation.world import Violation, World

MOST_LOOKS = 4  # that training takes before a slow one is there


class SimulatedSave:
    """A save that has begun (an `UnderWay`)."""

    def __init__(self, world: World, call: Callable[[], Saved]) -> None:
        self._world, self._call = world, call
        self._saved: Saved | None = None
        self._failed: Exception | None = None
        self._looks = world.dice.randint(1, MOST_LOOKS) if world.strikes("slow_save") else 0
        self._late = self._looks > 0
        if world.saving:
            raise Violation("two checkpoints are written at once")
        world.saving = True
        if not self._late:
            self._write()

    def done(self) -> bool:
        """Whether it has ended; asking is what lets time pass for it."""
        if self._world.saving and self._looks == 0:
            self._write()
        self._looks = max(self._looks - 1, 0)
        return not self._world.saving

    def result(self, timeout: float | None = None) -> Saved:
        """See `UnderWay`."""
        if self._world.saving:
            self._write()
        if self._failed is not None:
            raise self._failed
        assert self._saved is not None
        return self._saved

    def _write(self) -> None:
        self._world.saving = False
        try:
            self._saved = self._call()
        except StorageError as error:
            self._failed = error
            if self._late:
                self._world.probe("a checkpoint fails steps after it was begun")
