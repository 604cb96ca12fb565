"""A pool of workers: asks them for the shards of a sum, adds what comes back along the fixed tree, outlives their deaths.

What differs between pools is the *transport*: how a worker is started, called and heard. Who owes what is decided in
`assignment`, the order of additions in `tree`; both are the same for every pool, so the bits are too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from dbp.errors import DbpError, WorkersLostError
from dbp.sums.assignment import Assignment, GiveUp, Instruction, ReportLate, SendCall, StartWorker
from dbp.sums.messages import (
    Call,
    CallAnswered,
    CallRaised,
    Event,
    Part,
    SumTask,
    WorkerLeft,
    WorkerLost,
    WorkerReady,
    Workload,
)
from dbp.sums.partial_sum import Summand
from dbp.sums.shard_worker import ShardWorker
from dbp.sums.tree import Reduction

Vector = NDArray[np.floating]

QUIET_S = 60.0  # so long nothing more is said of a worker that is late again


class WorkerPool(Protocol):
    """All that the coordinator knows of workers."""

    @property
    def workers(self) -> int:
        """The number of workers alive now."""
        ...

    def configure(self, workload: Workload) -> None:
        """Tell every worker, present and future, what it works on; rows that it has loaded already are not loaded again."""
        ...

    def sum(self, task: SumTask, parameters: Vector | None = None) -> Summand:
        """Return the sum of a task over its shards, at `parameters` (P,). The arrays of the sum are valid until the next call.

        Raises WorkersLostError when no worker is left and none can be started, and whatever DbpError a worker raised.
        """
        ...

    def close(self) -> None:
        """Stop the workers and give their memory back."""
        ...


class Transport(Protocol):
    """How workers are reached. Every method returns at once except `next_event`."""

    def now(self) -> float:
        """Return the time in seconds, by a clock that never goes back."""
        ...

    def start(self, worker: int, workload: Workload) -> None:
        """Begin to start a worker; WorkerReady or WorkerLost follows."""
        ...

    def configure(self, worker: int, workload: Workload) -> None:
        """Give a ready worker another workload, before the next call to it."""
        ...

    def publish(self, parameters: Vector | None) -> None:
        """Make a parameter vector (P,) available to the calls that follow."""
        ...

    def send(self, worker: int, call: Call) -> None:
        """Call a worker; CallAnswered, CallRaised or WorkerLost follows."""
        ...

    def next_event(self, patience: float | None) -> Event | None:
        """Wait for the next event, but no longer than `patience` seconds: None then. Only called while one is due."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


class TransportPool:
    """The one WorkerPool there is: a transport, an assignment and a reduction.

    `on_trouble` hears of workers that were lost, and so does `on_late` of those that are late (None: `on_trouble`, too).
    `required` is how many of the `workers` are waited for; None: all.
    """

    def __init__(
        self,
        transport: Transport,
        workers: int,
        workload: Workload,
        on_trouble: Callable[[str], None] = lambda sentence: None,
        required: int | None = None,
        on_late: Callable[[str], None] | None = None,
    ) -> None:
        self._on_late = on_late or on_trouble
        self._transport = transport
        self._workload = workload
        self._on_trouble = on_trouble
        self._assignment = Assignment(workers, _counts(workload), required=required)
        self._told: dict[int, Workload] = {}  # by worker: the workload it was last given
        self._ready: set[int] = set()
        self._answered: set[int] = set()  # workers that have answered a call of the task
        self._reported: dict[int, float] = {}  # when a worker was last said to be late
        self._advice = ""  # of the last one lost
        self._carry_out(self._assignment.start())

    @property
    def workers(self) -> int:
        """See `WorkerPool`."""
        return self._assignment.workers

    def configure(self, workload: Workload) -> None:
        """See `WorkerPool`."""
        self._workload = workload
        self._assignment.recut(_counts(workload))
        for worker in self._ready:
            self._tell(worker)

    def sum(self, task: SumTask, parameters: Vector | None = None) -> Summand:
        """See `WorkerPool`."""
        tree = task.tree(self._workload.shards[task.part])
        self._task, self._reduction = task, Reduction[Summand](tree)
        self._answered.clear()
        self._transport.publish(parameters)
        self._carry_out(self._assignment.begin(task.part, tree.leaves, self._transport.now(), task.kind))
        while not self._reduction.complete:
            self._carry_out(self._next_instructions())
        # What workers lend is written over with their next call.
        return self._reduction.result().owned()

    def close(self) -> None:
        """See `WorkerPool`."""
        self._transport.close()

    def _tell(self, worker: int) -> None:
        """Give a worker the workload if it was started with, or last given, another."""
        if self._told[worker] is not self._workload:
            self._told[worker] = self._workload
            self._transport.configure(worker, self._workload)

    def _next_instructions(self) -> Sequence[Instruction]:
        """Wait for the next event, or until somebody is late."""
        due, now = self._assignment.next_look(), self._transport.now()
        event = self._transport.next_event(None if due is None else max(due - now, 0.0))
        now = self._transport.now()
        return self._assignment.look(now) if event is None else self._take(event, now)

    def _take(self, event: Event, now: float) -> Sequence[Instruction]:
        """Turn one event into instructions."""
        match event:
            case WorkerReady(worker):
                self._ready.add(worker)
                self._tell(worker)
                return self._assignment.ready(worker, now)
            case CallAnswered(worker, number, partials):
                if self._assignment.is_current(number):
                    self._answered.add(worker)
                    for node, partial in partials:
                        self._reduction.add(node, partial)
                return self._assignment.answered(worker, number, now)
            case CallRaised(worker, number, error):
                instructions = self._assignment.answered(worker, number, now)
                if self._assignment.is_current(number):
                    raise error
                return instructions
            case WorkerLost(worker, reason, replaceable, advice):
                self._advice = advice
                self._ready.discard(worker)
                instructions = self._assignment.lost(worker, reason, replaceable, now)
                self._on_trouble(f"worker {worker} was lost ({reason}); {_consequence(instructions)}")
                return instructions
            case WorkerLeft(worker):
                self._ready.discard(worker)
                return self._assignment.left(worker, now)
            case _:
                assert_never(event)

    def _carry_out(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case StartWorker(worker):
                    self._told[worker] = self._workload
                    self._transport.start(worker, self._workload)
                case SendCall(worker, number, shards):
                    if worker in self._answered:  # its last answer is borrowed until this call
                        self._reduction.keep()
                    self._transport.send(worker, Call(number, self._task, shards))
                case ReportLate():
                    self._report(instruction)
                case GiveUp(reason):
                    raise WorkersLostError(f"{reason}. {self._advice}" if self._advice else reason)
                case _:
                    assert_never(instruction)

    def _report(self, late: ReportLate) -> None:
        now = self._transport.now()
        if now - self._reported.get(late.worker, -QUIET_S) >= QUIET_S:
            self._reported[late.worker] = now
            plural, others = len(late.others) > 1, " and ".join(map(str, late.others))
            self._on_late(
                f"worker {late.worker} is late: no answer for {late.seconds:.1f} s, at most {late.limit:.1f} s were expected; "
                f"worker{'s' * plural} {others} compute{'s' * (not plural)} its shards, too, until it has caught up"
            )


def _counts(workload: Workload) -> dict[Part, int]:
    return {part: shards.count for part, shards in workload.shards.items()}


def _consequence(instructions: Sequence[Instruction]) -> str:
    for instruction in instructions:
        if isinstance(instruction, StartWorker):
            return f"worker {instruction.worker} takes its place and computes its shards again"
        if isinstance(instruction, GiveUp):
            return "no worker is left"
    return "the other workers compute its shards"


class InProcessTransport:
    """One worker in this process: no concurrency, no copies. The reference for every other transport."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._workers: dict[int, ShardWorker] = {}
        self._parameters: Vector | None = None

    def start(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        self._workers[worker] = ShardWorker(workload)
        self._events.append(WorkerReady(worker))

    def configure(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        self._workers[worker].configure(workload)

    def publish(self, parameters: Vector | None) -> None:
        """See `Transport`."""
        self._parameters = parameters

    def send(self, worker: int, call: Call) -> None:
        """Compute at once; the answer is the next event."""
        try:
            partials = self._workers[worker].compute(call, self._parameters)
            self._events.append(CallAnswered(worker, call.number, partials))
        except DbpError as error:
            self._events.append(CallRaised(worker, call.number, error))

    def now(self) -> float:
        """See `Transport`."""
        return time.monotonic()

    def next_event(self, patience: float | None) -> Event | None:
        """See `Transport`."""
        return self._events.popleft()

    def close(self) -> None:
        """Drop the workers and their rows."""
        self._workers.clear()


def serial_pool(workload: Workload) -> TransportPool:
    """Return the pool of one worker in this process (`workers: 0`)."""
    return TransportPool(InProcessTransport(), workers=1, workload=workload)
