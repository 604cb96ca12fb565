"""Who owes which shard: a machine without I/O. Events in, instructions out.

A *slot* is a place for one worker; it owns a contiguous run of each part's shards, so that a worker's shards fill few, large
subtrees. The worker in a slot may die; a new one is started in its place and owes what the dead one still owed. When workers
die faster than work gets done, the slot is closed and its shards move to the other slots; when none is left, the machine
gives up. Since a shard's partial sum is a pure function, none of this can change a bit of the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dbp.sums.messages import Part


@dataclass(frozen=True)
class StartWorker:
    """Instruction: start a worker with this number."""

    worker: int


@dataclass(frozen=True)
class SendCall:
    """Instruction: ask a worker for some shards of the current task."""

    worker: int
    number: int
    shards: tuple[int, ...]


@dataclass(frozen=True)
class GiveUp:
    """Instruction: no worker is left to do the work."""

    reason: str


Instruction = StartWorker | SendCall | GiveUp


@dataclass
class _Slot:
    worker: int
    ready: bool = False
    owed: list[int] = field(default_factory=list)  # shards of the current task not yet answered
    call: int | None = None  # the call under way
    asked: tuple[int, ...] = ()  # the shards it asks for


class Assignment:
    """See the module. `patience` is how many deaths in a row, without a finished task between them, are made good."""

    def __init__(self, workers: int, shards: Mapping[Part, int], patience: int | None = None) -> None:
        self._shards = dict(shards)
        self._patience = workers + 3 if patience is None else patience
        self._deaths = 0
        self._last_death = ""
        self._next_worker = workers
        self._next_call = self._first_call = 0
        self._slots: list[_Slot] = [_Slot(worker) for worker in range(workers)]
        self._part: Part | None = None

    @property
    def workers(self) -> int:
        """The number of workers ready to be called."""
        return sum(slot.ready for slot in self._slots)

    def start(self) -> list[Instruction]:
        """Return the instructions that start the first workers."""
        return [StartWorker(slot.worker) for slot in self._slots]

    def recut(self, shards: Mapping[Part, int]) -> None:
        """From the next task on, parts are cut into these numbers of shards."""
        self._shards = dict(shards)

    def begin(self, part: Part, shards: Sequence[int]) -> list[Instruction]:
        """Begin a task over some shards of a part, given in increasing order; what the last task left open is dropped."""
        self._part = part
        self._first_call = self._next_call
        count, slots = self._shards[part], len(self._slots)
        for slot in self._slots:
            slot.owed, slot.call, slot.asked = [], None, ()
        for shard in shards:
            self._slots[_slot_of(shard, count, slots)].owed.append(shard)
        return self._send_owed()

    def ready(self, worker: int) -> list[Instruction]:
        """A worker has started."""
        slot = self._slot(worker)
        if slot is None:
            return []
        slot.ready = True
        return self._send_owed()

    def is_current(self, number: int) -> bool:
        """Whether a call belongs to the current task: an answer to an earlier one must not be added."""
        return number >= self._first_call

    def answered(self, worker: int, number: int) -> list[Instruction]:
        """A worker has answered a call."""
        slot = self._slot(worker)
        if slot is None or slot.call != number:
            return []
        slot.owed = [shard for shard in slot.owed if shard not in slot.asked]
        slot.call, slot.asked = None, ()
        if not any(other.owed for other in self._slots):
            self._deaths = 0
        return self._send_owed()

    def lost(self, worker: int, reason: str, replaceable: bool = True) -> list[Instruction]:
        """A worker has died: start another in its slot, or close the slot when too many have died in a row, or none can start."""
        slot = self._slot(worker)
        if slot is None:
            return []
        self._deaths += 1
        self._last_death = f"worker {worker}: {reason}" + _shards_in_words(slot.owed, self._part)
        slot.ready, slot.call, slot.asked = False, None, ()
        if replaceable and self._deaths <= self._patience:
            slot.worker, self._next_worker = self._next_worker, self._next_worker + 1
            return [StartWorker(slot.worker)]
        self._slots.remove(slot)
        if not self._slots:
            return [GiveUp(f"{self._deaths} workers died in a row; the last was {self._last_death}")]
        for place, shard in enumerate(slot.owed):
            heir = self._slots[place * len(self._slots) // len(slot.owed)]
            heir.owed.append(shard)
        return self._send_owed()

    def _send_owed(self) -> list[Instruction]:
        """Call every ready slot that owes shards and has not been called; one call at a time per worker."""
        sends: list[Instruction] = []
        for slot in self._slots:
            if slot.ready and slot.owed and slot.call is None:
                slot.call, self._next_call = self._next_call, self._next_call + 1
                slot.asked = tuple(sorted(slot.owed))
                sends.append(SendCall(slot.worker, slot.call, slot.asked))
        return sends

    def _slot(self, worker: int) -> _Slot | None:
        return next((slot for slot in self._slots if slot.worker == worker), None)


def _slot_of(shard: int, count: int, slots: int) -> int:
    """Return the slot that owns a shard when slot k owns the shards [count k // slots, count (k + 1) // slots)."""
    return ((shard + 1) * slots - 1) // count


def _shards_in_words(shards: Sequence[int], part: Part | None) -> str:
    return f" (it owed shards {min(shards)} to {max(shards)} of the {part} rows)" if shards else ""
