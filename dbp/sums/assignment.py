"""Who owes which shard: a machine without I/O. Events and the time in, instructions out.

A *slot* is a place for one worker; it owns some of each part's shards (see `ownership`). The worker in a slot may die; a new one is
started in its place and owes what the dead one still owed. When workers die faster than work gets done, the slot is closed and its
shards move to the other slots; when none is left, the machine gives up.

A worker may also be late (see `pace`). Then whoever is idle computes its shards too, and the first answer wins. As long as it has
not answered its slot *rests*: it is asked for nothing, and others own its shards; a worker that is late again rests longer. A slot
whose late worker is lost, or given up for frozen, rests until the new worker is there.

Workers may come and go (`required` fewer than `workers`): then as many as are required are waited for, and every other slot counts
from the task on that begins when its worker is there; what a lost worker owed goes to the others at once.

Since a shard's partial sum is a pure function, none of this can change a bit of the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dbp.sums.messages import Part, TaskKind
from dbp.sums.ownership import Ownership
from dbp.sums.pace import Pace

LONGEST_REST = 64  # tasks


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
class ReportLate:
    """Instruction: say that a worker is late with a call and that others compute its shards too."""

    worker: int
    seconds: float  # since it was called
    limit: float  # after how many seconds it was late
    others: tuple[int, ...]  # workers


@dataclass(frozen=True)
class GiveUp:
    """Instruction: no worker is left to do the work."""

    reason: str


Instruction = StartWorker | SendCall | ReportLate | GiveUp


@dataclass(frozen=True)
class _CallUnderWay:
    number: int
    kind: TaskKind
    part: Part
    shards: tuple[int, ...]
    since: float  # seconds
    first_time: bool  # whether rows may have to be read for it


@dataclass
class _Slot:
    key: int  # of the slot, for good
    worker: int
    ready: bool = False
    owed: list[int] = field(default_factory=list)  # shards of the current task that are not yet answered
    call: _CallUnderWay | None = None  # of this task or of one before
    late: bool = False  # with the call under way, or when its last worker was lost
    times_late: int = 0  # in a row
    rest: int = 0  # tasks to rest after a late answer
    held: set[tuple[Part, int]] = field(default_factory=set)  # the shards whose rows its worker has

    def vacate(self) -> None:
        """Its worker has gone; what it owes it still owes."""
        self.ready, self.call, self.rest, self.times_late, self.held = False, None, 0, 0, set()

    @property
    def rests(self) -> bool:
        """Whether others do its work."""
        return self.late or self.rest > 0

    @property
    def is_idle(self) -> bool:
        """Whether its worker has nothing to do."""
        return self.ready and self.call is None and not self.owed

    @property
    def is_watched(self) -> bool:
        """Whether it owes something that nobody but its worker was asked for yet."""
        return self.call is not None and not self.late and bool(self.owed)


class Assignment:
    """See the module. `patience` is how many deaths in a row, without a finished task between them, are made good.

    `required` is how many of the `workers` are waited for; None: all. `now` is in seconds, by a clock that never goes back.
    """

    def __init__(
        self, workers: int, shards: Mapping[Part, int], patience: int | None = None, required: int | None = None
    ) -> None:
        self._required = workers if required is None else required
        self._patience = workers + 3 if patience is None else patience
        self._deaths = 0
        self._last_death = ""
        self._next_worker = workers
        self._next_call = self._first_call = 0
        self._slots: list[_Slot] = [_Slot(worker, worker) for worker in range(workers)]
        self._part: Part = "train"
        self._kind: TaskKind = "load"
        self._pace = Pace()
        self.recut(shards)

    @property
    def workers(self) -> int:
        """The number of workers ready to be called."""
        return sum(slot.ready for slot in self._slots)

    def start(self) -> list[Instruction]:
        """Return the instructions that start the first workers."""
        return [StartWorker(slot.worker) for slot in self._slots]

    def recut(self, shards: Mapping[Part, int]) -> None:
        """From the next task on, parts are cut into these numbers of shards."""
        self._owners = {part: Ownership(count) for part, count in shards.items()}
        for slot in self._slots:
            slot.held = set()

    def begin(
        self, part: Part, shards: Sequence[int], now: float = 0.0, kind: TaskKind = "gradient"
    ) -> list[Instruction]:
        """Begin a task over some shards of a part, given in increasing order; what the last task left open is dropped."""
        self._part, self._kind = part, kind
        self._first_call = self._next_call
        self._deaths = 0  # the last task is done, be it by the answer of somebody who was given up
        able = self._able()
        for slot in self._slots:
            slot.owed = []
            slot.rest = max(slot.rest - 1, 0)
        slots = {slot.key: slot for slot in able}
        owners = self._owners[part].among(sorted(slots))
        for shard in shards:
            slots[owners[shard]].owed.append(shard)
        return self._send_owed(now)

    def ready(self, worker: int, now: float = 0.0) -> list[Instruction]:
        """A worker has started."""
        slot = self._slot(worker)
        if slot is None:
            return []
        slot.ready, slot.late = True, False
        self._step_in(slot)
        return self._send_owed(now)

    def is_current(self, number: int) -> bool:
        """Whether a call belongs to the current task: an answer to an earlier one must not be added."""
        return number >= self._first_call

    def answered(self, worker: int, number: int, now: float = 0.0) -> list[Instruction]:
        """A worker has answered a call, or said that it cannot be answered."""
        slot = self._slot(worker)
        if slot is None or slot.call is None or slot.call.number != number:
            return []
        call, slot.call = slot.call, None
        slot.held |= {(call.part, shard) for shard in call.shards}
        if self.is_current(number):
            for other in self._slots:  # the first answer wins
                other.owed = [shard for shard in other.owed if shard not in call.shards]
        if slot.late:
            slot.late, slot.rest = False, min(2**slot.times_late, LONGEST_REST)
        else:
            slot.times_late = 0
            self._pace.took(call.kind, call.part, len(call.shards), now - call.since, call.first_time)
        return self._send_owed(now)

    def lost(self, worker: int, reason: str, replaceable: bool = True, now: float = 0.0) -> list[Instruction]:
        """A worker has died: start another in its slot, or close the slot when too many have died in a row, or none can start."""
        slot = self._slot(worker)
        if slot is None:
            return []
        self._deaths += 1
        self._last_death = f"worker {worker}: {reason}" + _shards_in_words(slot.owed, self._part)
        if replaceable and self._deaths <= self._patience:
            return self._replace(slot, now)
        slot.vacate()
        self._slots.remove(slot)
        if not self._slots:
            return [GiveUp(f"{self._deaths} workers died in a row; the last was {self._last_death}")]
        others = {shard for other in self._slots for shard in other.owed}
        _hand_out([shard for shard in slot.owed if shard not in others], self._slots)
        return self._send_owed(now)

    def left(self, worker: int, now: float = 0.0) -> list[Instruction]:
        """A worker has gone that nothing is wrong with: another may start in its slot when there is room again."""
        slot = self._slot(worker)
        return [] if slot is None else self._replace(slot, now)

    def _replace(self, slot: _Slot, now: float) -> list[Instruction]:
        """Start another worker in a slot; others do what the one before owed, where it is not waited for."""
        slot.vacate()
        slot.worker, self._next_worker = self._next_worker, self._next_worker + 1
        return [StartWorker(slot.worker), *self._pass_on(slot, now)]

    def look(self, now: float) -> list[Instruction]:
        """See who is late, and have idle workers compute what the late ones owe."""
        instructions: list[Instruction] = []
        for slot in self._slots:
            heirs = [other for other in self._slots if other.is_idle]
            call, limit = slot.call, self._limit(slot)
            if not heirs or call is None or limit is None or now < call.since + limit:
                continue
            slot.late, slot.times_late = True, slot.times_late + 1
            _hand_out(slot.owed, heirs)
            others = tuple(heir.worker for heir in heirs if heir.owed)
            instructions += [ReportLate(slot.worker, now - call.since, limit, others), *self._send_owed(now)]
        return instructions

    def next_look(self) -> float | None:
        """Return when somebody will be late for whom others could step in; None if nobody will."""
        if not any(slot.is_idle for slot in self._slots):
            return None
        limits = ((slot.call, self._limit(slot)) for slot in self._slots)
        return min((call.since + limit for call, limit in limits if call and limit is not None), default=None)

    def _able(self) -> list[_Slot]:
        """The slots that take part in a task: those that are ready, and as many others as are missing; no resting ones."""
        there = [slot for slot in self._slots if slot.ready]
        awaited = [slot for slot in self._slots if not slot.ready and not slot.rests]
        missing = max(self._required - len(there), 0)
        able = [slot for slot in there if not slot.rests] + awaited[:missing]
        return able or there or self._slots

    def _step_in(self, slot: _Slot) -> None:
        """A worker is there before one that is waited for: it takes over what that one owes."""
        awaited = next((other for other in self._slots if other.owed and not other.ready), None)
        if not slot.owed and awaited is not None and self._required < len(self._slots):
            slot.owed, awaited.owed = awaited.owed, []

    def _pass_on(self, slot: _Slot, now: float) -> list[Instruction]:
        """Let others do what a lost worker owed, where its successor is not waited for."""
        ready = [other for other in self._slots if other.ready]
        if not slot.owed or len(ready) < self._required:
            return []
        taken = {shard for other in ready for shard in other.owed}
        _hand_out([shard for shard in slot.owed if shard not in taken], ready)
        slot.owed = []
        return self._send_owed(now)

    def _limit(self, slot: _Slot) -> float | None:
        """Return after how many seconds the call under way is late, if that is known and matters."""
        if slot.call is None or not slot.is_watched:
            return None
        call = slot.call
        return self._pace.limit(call.kind, call.part, len(call.shards), call.first_time)

    def _send_owed(self, now: float) -> list[Instruction]:
        """Call every ready slot that owes shards and has not been called; one call at a time per worker."""
        sends: list[Instruction] = []
        for slot in self._slots:
            if slot.ready and slot.owed and slot.call is None:
                number, self._next_call = self._next_call, self._next_call + 1
                shards = tuple(sorted(slot.owed))
                first = not all((self._part, shard) in slot.held for shard in shards)
                slot.call = _CallUnderWay(number, self._kind, self._part, shards, now, first)
                sends.append(SendCall(slot.worker, number, shards))
        return sends

    def _slot(self, worker: int) -> _Slot | None:
        return next((slot for slot in self._slots if slot.worker == worker), None)


def _hand_out(shards: Sequence[int], heirs: Sequence[_Slot]) -> None:
    """Let the heirs owe the shards, in runs of neighbours."""
    for place, shard in enumerate(shards):
        heirs[place * len(heirs) // len(shards)].owed.append(shard)


def _shards_in_words(shards: Sequence[int], part: Part) -> str:
    return f" (it owed shards {min(shards)} to {max(shards)} of the {part} rows)" if shards else ""
