"""A pool of workers: asks them for the shards of a sum, adds what comes back along the fixed tree, outlives their deaths.

What differs between pools is the *transport*: how a worker is started, called and heard. Who owes what is decided in
`assignment`, the order of additions in `tree`; both are the same for every pool, so the bits are too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from dbp.errors import DbpError, WorkersLostError
from dbp.sums.assignment import Assignment, GiveUp, Instruction, SendCall, StartWorker
from dbp.sums.messages import (
    Call,
    CallAnswered,
    CallRaised,
    Event,
    Part,
    SumTask,
    WorkerLost,
    WorkerReady,
    Workload,
)
from dbp.sums.partial_sum import PartialSum, Summand
from dbp.sums.shard_worker import ShardWorker
from dbp.sums.tree import Reduction

Vector = NDArray[np.floating]


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

    def next_event(self) -> Event:
        """Wait for the next event. Only called while one is due."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


class TransportPool:
    """The one WorkerPool there is: a transport, an assignment and a reduction."""

    def __init__(
        self,
        transport: Transport,
        workers: int,
        workload: Workload,
        on_trouble: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._transport = transport
        self._workload = workload
        self._on_trouble = on_trouble
        self._assignment = Assignment(workers, _counts(workload))
        self._told: dict[int, Workload] = {}  # by worker: the workload it was last given
        self._ready: set[int] = set()
        self._lenders: set[int] = set()  # whose answers to the current task may still be in use, where they lie
        self._reduction: Reduction[Summand] | None = None  # the current task's
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
        reduction: Reduction[Summand] = Reduction(tree)
        self._task, self._reduction = task, reduction
        self._lenders.clear()
        self._transport.publish(parameters)
        self._carry_out(self._assignment.begin(task.part, tree.leaves))
        while not reduction.complete:
            self._carry_out(self._take(self._transport.next_event(), reduction))
        # A channel's memory must be free before the next call: whoever still held it would block the worker for ever.
        return _owned(reduction.result())

    def close(self) -> None:
        """See `WorkerPool`."""
        self._transport.close()

    def _tell(self, worker: int) -> None:
        """Give a worker the workload if it was started with, or last given, another."""
        if self._told[worker] is not self._workload:
            self._told[worker] = self._workload
            self._transport.configure(worker, self._workload)

    def _take(self, event: Event, reduction: Reduction[Summand]) -> Sequence[Instruction]:
        """Turn one event into instructions."""
        match event:
            case WorkerReady(worker):
                self._ready.add(worker)
                self._tell(worker)
                return self._assignment.ready(worker)
            case CallAnswered(worker, number, partials):
                if self._assignment.is_current(number):
                    self._lenders.add(worker)
                    for node, partial in partials:
                        reduction.add(node, partial)
                return self._assignment.answered(worker, number)
            case CallRaised(_, number, error):
                if self._assignment.is_current(number):
                    raise error
                return []
            case WorkerLost(worker, reason, replaceable):
                self._ready.discard(worker)
                instructions = self._assignment.lost(worker, reason, replaceable)
                self._on_trouble(f"worker {worker} was lost ({reason}); {_consequence(instructions)}")
                return instructions
            case _:
                assert_never(event)

    def _return_what_is_lent_by(self, worker: int) -> None:
        """Keep copies of what a worker answered to this task: called again, for shards of a lost one, it writes over its memory."""
        if worker in self._lenders and self._reduction is not None:
            self._reduction.replace(_owned)
            self._lenders.clear()

    def _carry_out(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case StartWorker(worker):
                    self._told[worker] = self._workload
                    self._transport.start(worker, self._workload)
                case SendCall(worker, number, shards):
                    self._return_what_is_lent_by(worker)
                    self._transport.send(worker, Call(number, self._task, shards))
                case GiveUp(reason):
                    raise WorkersLostError(reason)
                case _:
                    assert_never(instruction)


def _owned(total: Summand) -> Summand:
    """Return a sum whose memory is nobody else's."""
    return total.owned() if isinstance(total, PartialSum) else total


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

    def next_event(self) -> Event:
        """See `Transport`."""
        return self._events.popleft()

    def close(self) -> None:
        """Drop the workers and their rows."""
        self._workers.clear()


def serial_pool(workload: Workload) -> TransportPool:
    """Return the pool of one worker in this process (`workers: 0`)."""
    return TransportPool(InProcessTransport(), workers=1, workload=workload)
