"""Simulated workers behind the real `TransportPool`: a `Transport` whose processes, links and deaths follow the plan's dice.

A worker computes with a real `ShardWorker`. Its answers lie in memory that it writes over with its next call, as on a real link:
here they become NaN at that moment. What is known of Ray's behaviour is in docs/simulation.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dbp.errors import DataError, WorkersLostError
from dbp.sums.messages import (
    Call,
    CallAnswered,
    CallRaised,
    Event,
    Partials,
    Vector,
    WorkerLost,
    WorkerReady,
    Workload,
)
from dbp.sums.partial_sum import PartialSum
from dbp.sums.shard_worker import ShardWorker
from dbp.sums.tree import Node
from simulation.world import Violation, World

ANSWER_TIMEOUT_S = 3600.0
FROZEN_S = 30.0  # without a sign of life
START_TIMEOUT_S = 120.0
MOST_EVENTS = 5_000  # of one schedule

Sums = dict[tuple[object, ...], tuple[tuple[Node, PartialSum], ...]]


@dataclass
class Worker:
    """A simulated process, and what the coordinator was told of it."""

    number: int
    workload: Workload
    alive: bool = True
    told_ready: bool = False
    told_lost: bool = False
    announced: bool = False  # whether its death is on its way
    busy_until: float = 0.0
    called: int = -1  # the call under way
    lent: list[Vector] = field(default_factory=list)
    given: Workload | None = None  # what its `ShardWorker` works on
    calls_of_task: int = 0
    computing: ShardWorker | None = None


class SimulatedTransport:
    """See `Transport`. To simulate another kind of event, `deliver` it."""

    def __init__(self, world: World, sums: Sums | None) -> None:
        self._world, self._clock, self._dice = world, world.clock, world.dice
        self._sums = sums
        self._workers: dict[int, Worker] = {}
        self._arrived: deque[Event | Exception] = deque()
        self._parameters: Vector | None = None
        self._digest = b""
        self._task_begins = 0  # the first call that is sent after the last `publish`
        self._next_call = 0
        self._taken: set[tuple[int, int]] = set()
        self._newest = -1  # the highest call that was answered
        self._places = world.plan.workers
        self._here = 0  # workers that were started and are not known to be lost
        self._all_gone = False
        self.raised = False  # whether an error of the current task's was handed over
        self.losses_in_a_row = 0
        self.unplaceable = False
        self.gave_up_start = False

    # ---- what the pool calls

    def start(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        self._world.maybe_kill("while a worker starts")
        if worker in self._workers:
            raise Violation(f"worker {worker} was started twice")
        process = self._workers[worker] = Worker(worker, workload)
        delay = self._dice.uniform(0.7, 1.4)
        if worker >= self._world.plan.required and self._world.strikes("joins_late"):
            delay += self._dice.uniform(0.0, 100.0)
        self._check_room()
        if self._no_worker_ever():
            self._world.probe(f"{self._world.plan.forever}, for ever")
            self._die(process, delay, "it did not start", replaceable="room" not in self._world.plan.forever)
        elif self._world.strikes("never_starts"):
            process.alive = False
            if self._world.plan.required < self._world.plan.workers:
                self._world.probe("one of those that come and go never comes")
            sentence = f"worker {worker} did not start within {START_TIMEOUT_S:.0f} s"
            self._clock.after(START_TIMEOUT_S, lambda: self._give_up_start(sentence))
        elif self._world.strikes("dies_starting"):
            if worker >= self._world.plan.workers:
                self._world.probe("died again while its replacement started")
            self._die(process, delay * self._dice.random(), "it did not start")
            if self._dice.random() < 0.3:  # its last word arrives late
                self.deliver(WorkerReady(worker), delay)
        else:
            self._clock.after(delay, lambda: self._started(process))

    def configure(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        self._workers[worker].workload = workload

    def publish(self, parameters: Vector | None) -> None:
        """See `Transport`."""
        self._parameters = None if parameters is None else parameters.copy()
        self._digest = b"" if parameters is None else parameters.tobytes()
        self._task_begins = self._next_call
        self.losses_in_a_row = 0  # `publish` comes when the last task is finished
        for worker in self._workers.values():
            worker.calls_of_task = 0

    def send(self, worker: int, call: Call) -> None:
        """See `Transport`."""
        world, process = self._world, self._workers[worker]
        world.maybe_kill("while a call is sent")
        if process.told_lost and world.plan.audit:
            return  # an audit knew before the pool did
        if process.told_lost or not process.told_ready:
            state = "lost" if process.told_lost else "not ready"
            raise Violation(f"worker {worker} was called, and was known to be {state}")
        if process.called >= 0:
            raise Violation(f"worker {worker} was called, and had not answered call {process.called}")
        self._next_call = max(self._next_call, call.number + 1)
        process.called = call.number
        process.calls_of_task += 1
        if process.calls_of_task > 1:
            world.probe("second call of a worker in one task")
        world.tell(f"worker {worker}", f"call {call.number}: {call.task.kind} of shards {_spelt(call.shards)}")
        if world.strikes("massacre"):
            self._massacre()
        if process.alive and world.strikes("dies_at_call"):
            self._die(process, self._noticed(), "its process died")
        if process.alive:
            self._work(process, call)

    def remove(self, worker: int, reason: str) -> None:
        """See `RemovingTransport`."""
        process = self._workers[worker]
        self._world.probe("removed by an audit")
        process.alive = False
        self._announce(process, 0.0, reason)

    def now(self) -> float:
        """See `Transport`."""
        return self._clock.now

    def next_event(self, patience: float | None) -> Event | None:
        """See `Transport`."""
        world = self._world
        until = None if patience is None else self._clock.now + patience
        world.maybe_kill("while it waits for an event")
        if world.strikes("stop"):
            world.tell("somebody", "asks for a stop")
            world.stop.set()
        if self._no_worker_ever() and not self._all_gone:
            self._all_gone = True
            for process in self._workers.values():
                if process.alive:
                    self._die(process, 0.1, "its node was lost")
        while not self._arrived:
            if until is not None:
                if not self._clock.advance_until(until):
                    return self._nobody_came()
            elif not self._clock.advance():
                raise Violation("the coordinator waits for ever: nothing is on its way to it")
        event = self._arrived.popleft()
        world.events += 1
        if world.events > MOST_EVENTS:
            raise Violation(f"no end after {MOST_EVENTS:,} events")
        if isinstance(event, Exception):
            self.gave_up_start = True
            raise event
        self._note(event)
        return event

    def _nobody_came(self) -> None:
        self._world.events += 1
        self._world.probe("somebody is late")
        if self._world.events > MOST_EVENTS:
            raise Violation(f"no end after {MOST_EVENTS:,} events")

    def close(self) -> None:
        """See `Transport`."""
        self._clock.clear()

    # ---- what the world does

    def deliver(self, event: Event | Exception, delay: float) -> None:
        """Have an event arrive after a delay."""
        self._clock.after(delay, lambda: self._arrived.append(event))

    def _no_worker_ever(self) -> bool:
        plan = self._world.plan
        return "worker" in plan.forever and self._world.events >= plan.forever_from

    def _check_room(self) -> None:
        """There are as many places as workers at first, less those that are known to be gone."""
        self._here += 1
        if self._here > self._places:
            raise Violation(f"{self._here} workers were started where {self._places} have room")

    def _noticed(self) -> float:
        """How long until a death is noticed: at once by the link, or much later where a node is lost."""
        return self._dice.uniform(0.01, 0.2) if self._dice.random() < 0.8 else self._dice.uniform(1.0, 20.0)

    def _give_up_start(self, sentence: str) -> None:
        there = sum(worker.told_ready and not worker.told_lost for worker in self._workers.values())
        if there < self._world.plan.required or self._world.plan.required == self._world.plan.workers:
            self._arrived.append(WorkersLostError(sentence))

    def _started(self, process: Worker) -> None:
        if process.alive:
            process.given = process.workload
            if self._sums is None:
                process.computing = ShardWorker(process.workload)
            self._arrived.append(WorkerReady(process.number))

    def _die(self, process: Worker, noticed: float, reason: str, replaceable: bool = True) -> None:
        process.alive = False
        self._world.tell(f"worker {process.number}", f"DIES: {reason}")
        self._announce(process, noticed, reason, replaceable)

    def _announce(self, process: Worker, delay: float, reason: str, replaceable: bool = True) -> None:
        if process.announced:
            return
        process.announced = True
        if replaceable and self._world.strikes("no_room"):
            replaceable = False
        event = WorkerLost(process.number, reason, replaceable)
        self.deliver(event, delay)
        if self._world.strikes("second_death"):
            self.deliver(event, delay + self._dice.uniform(0.0, 5.0))

    def _massacre(self) -> None:
        victims = [process for process in self._workers.values() if process.alive]
        if len(victims) > 1 and self._dice.random() < 0.5:
            victims = self._dice.sample(victims, self._dice.randrange(1, len(victims)))
        else:
            self._world.probe("all workers died at once")
        noticed = self._noticed()
        for process in victims:
            self._die(process, noticed, "its node was lost")

    def _work(self, process: Worker, call: Call) -> None:
        """Have a worker begin a call when it is done with the one before."""
        world, dice = self._world, self._dice
        began = max(self._clock.now, process.busy_until)
        seconds = dice.uniform(0.5, 1.5)
        if world.strikes("slow"):
            seconds *= dice.uniform(2, 50)
        if world.strikes("hangs"):
            seconds = ANSWER_TIMEOUT_S * dice.uniform(0.5, 3.0)
            frozen = dice.random() < 0.5  # else its heart beats
            world.tell(f"worker {process.number}", f"{'FREEZES' if frozen else 'HANGS'} for {seconds:.0f} s")
            limit, reason = (
                (FROZEN_S, f"no sign of life for {FROZEN_S:.0f} s")
                if frozen
                else (ANSWER_TIMEOUT_S, f"it gave no answer for {ANSWER_TIMEOUT_S:.0f} s")
            )
            self._clock.after(limit, lambda: self._give_up(process, call.number, reason))
        process.busy_until = began + seconds
        parameters, digest = self._parameters, self._digest
        self._clock.after(began - self._clock.now, lambda: self._begin(process))
        if world.strikes("dies_computing"):
            death = began - self._clock.now + seconds * dice.random()
            self._clock.after(death, lambda: self._die_if_alive(process))
        self._clock.after(process.busy_until - self._clock.now, lambda: self._finish(process, call, parameters, digest))

    def _die_if_alive(self, process: Worker) -> None:
        if process.alive:
            self._die(process, self._noticed(), "its process died")

    def _give_up(self, process: Worker, number: int, reason: str) -> None:
        """The transport's own deadlines: what `RayTransport` does with a worker that is frozen or gives no answer."""
        if process.called == number and not process.announced:
            self._world.probe("given up: frozen" if "life" in reason else "given up at the deadline")
            self._announce(process, 0.0, reason)

    def _begin(self, process: Worker) -> None:
        """A worker begins a call: it takes its workload, and the memory of its last answer is used again."""
        for array in process.lent:
            array.fill(np.nan)
        process.lent = []
        if process.given is not process.workload:
            process.given = process.workload
            if process.computing is not None:
                process.computing.configure(process.workload)

    def _finish(self, process: Worker, call: Call, parameters: Vector | None, digest: bytes) -> None:
        if not process.alive:
            return
        world, dice = self._world, self._dice
        number, delay = process.number, dice.uniform(0.0, 0.05)
        answer: Event = CallAnswered(number, call.number, self._compute(process, call, parameters, digest))
        if world.strikes("raises"):
            answer = CallRaised(number, call.number, DataError("rows.parquet: cannot be read at the moment"))
        if world.strikes("late"):
            delay += dice.uniform(0.0, 10.0)
        if process.announced:
            world.probe("a worker came back after it was given up")
        elif world.strikes("cut_off"):
            self._announce(process, dice.uniform(0.0, 0.2), "its link closed")
            delay += dice.uniform(0.0, 20.0)
            if dice.random() < 0.2:
                answer = CallRaised(number, call.number, DataError("rows.parquet: cannot be read from here"))
        elif world.strikes("dies_after"):
            self._die(process, self._noticed(), "its process died")
        elif world.strikes("dies_idle"):
            self._clock.after(dice.uniform(0.0, 3.0), lambda: self._die_if_alive(process))
        self.deliver(answer, delay)
        if isinstance(answer, CallAnswered) and world.strikes("duplicate"):
            for _ in range(dice.randrange(1, 3)):
                self.deliver(answer, delay + dice.uniform(0.0, 20.0))

    def _compute(self, process: Worker, call: Call, parameters: Vector | None, digest: bytes) -> Partials:
        """Return a worker's partial sums, in memory of its own that the coordinator may read until the worker's next call."""
        trains = process.given is not None and process.given.training is not None
        key = (trains, call.task.kind, call.task.part, call.task.batch, call.shards, call.apart, call.extra, digest)
        partials = self._sums.get(key) if self._sums is not None else None
        if partials is None:
            assert process.given is not None
            if process.computing is None:  # it has looked its sums up so far
                process.computing = ShardWorker(process.given)
            partials = tuple((node, _owned(part)) for node, part in process.computing.compute(call, parameters))
            if self._sums is not None:
                self._sums[key] = partials
        lent = []
        lies = call.task.kind in ("gradient", "curvature") and self._world.strikes("lies")
        for node, partial in partials:
            memory = partial.gradient.copy()
            if lies and memory.size:
                memory.view(np.uint8)[0] ^= 1
                lies = False
            process.lent.append(memory)
            view = memory.view()
            view.flags.writeable = False
            lent.append((node, PartialSum(partial.loss, view, *_rest(partial))))
        return tuple(lent)

    def _note(self, event: Event) -> None:
        """Write down what the coordinator hears, and count what is remarkable about it."""
        world, process = self._world, self._workers[event.worker]
        who = f"worker {event.worker}"
        match event:
            case WorkerReady():
                world.tell(who, "is ready")
                process.told_ready = True
            case WorkerLost():
                world.tell(who, f"is lost: {event.reason}" + ("" if event.replaceable else "; no room for another"))
                if not process.told_lost:
                    self._here -= 1
                    self._places -= not event.replaceable
                self.unplaceable |= not event.replaceable
                self.losses_in_a_row += not process.told_lost
                process.told_lost = True
            case CallAnswered() | CallRaised():
                process.called = -1 if process.called == event.number else process.called
                self._note_answer(event, process)

    def _note_answer(self, event: CallAnswered | CallRaised, process: Worker) -> None:
        world, remarks = self._world, []
        if event.number < self._task_begins:
            remarks.append("of a former task")
        elif isinstance(event, CallRaised):
            self.raised = True
        if process.told_lost:
            remarks.append("of a worker declared dead")
        if (event.worker, event.number) in self._taken:
            remarks.append("again")
        elif event.number < self._newest:
            remarks.append("out of order")
        self._newest = max(self._newest, event.number)
        self._taken.add((event.worker, event.number))
        what = "answer" if isinstance(event, CallAnswered) else "error"
        for remark in remarks:
            world.probe(f"{what} {remark}")
        world.tell(f"worker {event.worker}", f"{what} to call {event.number}" + "".join(f", {r}" for r in remarks))


def _owned(partial: Any) -> PartialSum:
    return replace(partial, gradient=partial.gradient.copy())


def _rest(partial: PartialSum) -> tuple[float, float, int, int]:
    return partial.weight, partial.squared_error, partial.rows, partial.correct


def _spelt(shards: Sequence[int]) -> str:
    return " ".join(map(str, shards))
