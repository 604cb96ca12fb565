"""The pool of Ray actors: what happens to them becomes events for `assignment`, its instructions become calls.

Ray starts the workers, places them and tells of their death; a worker then comes through the pool's gate (see `gate`), and calls go
over its link. Answers are taken as they arrive, and a link that closes is a worker that died. A worker that cannot come through the
gate is called through Ray.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import ray
from numpy.typing import NDArray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError, RayTaskError

from dbp.errors import NodeUnfitError, WorkersLostError
from dbp.sums.messages import Call, Event, WorkerLost, WorkerReady, Workload
from dbp.sums.pool import TransportPool
from dbp.workers.actor import GradientWorker
from dbp.workers.causes import Cause, Causes, cause_of
from dbp.workers.channels import CallStyle, Channel, LinkChannel, Published, RayChannel
from dbp.workers.gate import Arrival, Gate
from dbp.workers.link import Beat, LinkClosedError
from dbp.workers.listening import ListeningClock
from dbp.workers.nodes import Fitness
from dbp.workers.shared_memory import Board, supported

Vector = NDArray[np.floating]

START_TIMEOUT_S = 120.0
# An answer later than this means that the worker hangs, though its heart beats. Long, because loading its shards counts too.
ANSWER_TIMEOUT_S = 3600.0
# A worker that gives no sign of life for this long is stopped, or its machine is gone. Signs come while it computes, too.
FROZEN_S = 30.0
LOOK_AROUND_S = 0.2  # how often, while nothing arrives, Ray is asked who has died
ASK_RAY_S = 0.02  # how long Ray is waited for at a time, where workers are called through it

ActorOptions = Callable[[int], Mapping[str, object]]  # by worker: where it may run (see `placement`)

WORKER_DIED = (RayActorError, LinkClosedError)


@dataclass
class _Worker:
    actor: ActorHandle
    alive: ray.ObjectRef  # settles when its loop has ended, or when it is ready to be called through Ray
    since: float  # of its start, as are all times here: seconds by the listening clock
    pid: int = 0
    channel: Channel | None = None
    heard: float = 0.0  # its last sign of life


@dataclass(frozen=True)
class _Wait:
    call: int
    since: float


class RayTransport:
    """Workers as Ray actors, one CPU each, on the Ray that this process is connected to."""

    def __init__(
        self,
        calls: CallStyle = "link",
        on_trouble: Callable[[str], None] = lambda sentence: None,
        actor_options: ActorOptions | None = None,
        frozen_s: float = FROZEN_S,
        required: int | None = None,
        fitness: Fitness | None = None,
    ) -> None:
        self._required = required
        self._short_since: float | None = None  # fewer than are required have been there
        self._fitness = fitness
        self.unfit: dict[str, str] = {}  # nodes where no worker can run, by Ray's name, and why
        self._frozen_s = frozen_s
        self._calls: CallStyle = calls
        self._on_trouble = on_trouble
        self._actor_options = actor_options
        self._workers: dict[int, _Worker] = {}
        self._called: dict[int, _Wait] = {}  # by worker
        self._events: deque[Event] = deque()
        self._board = Board() if supported else None
        self._gate = Gate(self._board)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._gate, selectors.EVENT_READ)
        self._published = Published(None, None)
        self._clock = ListeningClock(2 * LOOK_AROUND_S)
        self._looked = self._clock.seconds
        self._causes = Causes()

    def start(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        options = self._actor_options(worker) if self._actor_options else {}
        actor_class = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0, **options)(GradientWorker)
        actor = actor_class.remote(worker, workload, self._fitness)
        if self._calls == "link":
            _open_to_other_machines(self._gate)
        alive = actor.serve.remote(self._gate.address) if self._calls == "link" else actor.ready.remote()
        self._workers[worker] = _Worker(actor, alive, self._clock.seconds)

    def configure(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        known = self._workers.get(worker)
        if known is not None and known.channel is not None:
            try:
                known.channel.configure(workload)
            except WORKER_DIED:
                self._lose_dead(worker)

    def publish(self, parameters: Vector | None) -> None:
        """See `Transport`."""
        self._published = Published(parameters, self._board)

    def send(self, worker: int, call: Call) -> None:
        """See `Transport`."""
        known = self._workers.get(worker)
        if known is None or known.channel is None:
            return  # its death is among the events already
        self._called[worker] = _Wait(call.number, self._clock.seconds)
        try:
            known.channel.send(call, self._published)
        except WORKER_DIED:
            self._lose_dead(worker)

    def now(self) -> float:
        """See `Transport`. The clock stands still while this process is stopped, or busy: nobody is silent or late for that."""
        return self._clock.tick()

    def next_event(self, patience: float | None) -> Event | None:
        """See `Transport`."""
        until = None if patience is None else self.now() + patience
        while not self._events:
            left = LOOK_AROUND_S if until is None else min(until - self.now(), LOOK_AROUND_S)
            self._wait(max(left, 0.0))
            if left <= 0 and not self._events:  # whoever has answered is heard, however late it is here
                return None
        return self._events.popleft()

    def remove(self, worker: int, reason: str) -> None:
        """End a worker that is not to be trusted; WorkerLost follows, and says where it ran."""
        known = self._workers.get(worker)
        if known is not None:
            where = f" on {known.channel.link.host()}" if isinstance(known.channel, LinkChannel) else ""
            self._lose(worker, Cause(f"{reason}; it ran{where}" if where else reason))

    def retire(self, worker: int) -> None:
        """End a worker that nothing is wrong with, or that has not started yet; no event follows."""
        known = self._forget(worker)
        if known is not None:
            ray.kill(known.actor)
        self._events = deque(event for event in self._events if event.worker != worker)

    def pids(self) -> dict[int, int]:
        """Return the process id of every worker that has started."""
        return {number: worker.pid for number, worker in self._workers.items() if worker.pid}

    def close(self) -> None:
        """See `Transport`."""
        self._selector.close()
        self._gate.close()
        for worker in self._workers.values():
            if worker.channel is not None:
                worker.channel.close()
            ray.kill(worker.actor)
        self._workers.clear()
        if self._board is not None:
            self._board.close()

    def _wait(self, seconds: float) -> None:
        """Sleep until something may have happened, for some seconds at most, and see what."""
        through_ray = self._through_ray()
        for key, _ in self._selector.select(0 if through_ray else seconds):
            if key.fileobj is self._gate:
                arrival = self._gate.arrival()
                if arrival is not None:
                    self._admit(arrival)
            else:
                self._receive(key.data)
                while self._has_more(key.data):
                    self._receive(key.data)
        if through_ray and not self._events:
            answers = list(through_ray)
            for answer in ray.wait(answers, num_returns=1, timeout=ASK_RAY_S)[0]:
                self._receive(through_ray[answer])
        now = self.now()
        since = now - self._looked
        if since > LOOK_AROUND_S / 2 and not (self._events and since < LOOK_AROUND_S):
            self._looked = now
            self._look_around(now)

    def _through_ray(self) -> dict[ray.ObjectRef, int]:
        """The answers that are to come through Ray, and from which worker."""
        channels = ((number, self._workers[number].channel) for number in self._called)
        return {
            channel.answer: number
            for number, channel in channels
            if isinstance(channel, RayChannel) and channel.answer is not None
        }

    def _admit(self, arrival: Arrival) -> None:
        known = self._workers.get(arrival.worker)
        if known is None or known.channel is not None:  # given up meanwhile
            arrival.link.close()
            return
        arrival.link.bound(self._frozen_s)
        known.pid, known.channel, known.heard = arrival.pid, LinkChannel(arrival.link), self._clock.seconds
        self._selector.register(arrival.link, selectors.EVENT_READ, arrival.worker)
        self._events.append(WorkerReady(arrival.worker))

    def _has_more(self, number: int) -> bool:
        known = self._workers.get(number)
        return known is not None and isinstance(known.channel, LinkChannel) and known.channel.link.has_more

    def _receive(self, number: int) -> None:
        known = self._workers.get(number)
        if known is None or known.channel is None:
            return
        try:
            answer = known.channel.receive()
        except WORKER_DIED:
            self._lose_dead(number)
            return
        known.heard = self._clock.seconds
        if not isinstance(answer, Beat):
            self._called.pop(number, None)
            self._events.append(answer)

    def _look_around(self, now: float) -> None:
        """Find workers that died, that did not start, that are frozen and that hang."""
        enough = self._enough()
        self._short_since = None if enough else now if self._short_since is None else self._short_since
        alive = [worker.alive for worker in self._workers.values()]
        settled = set(ray.wait(alive, num_returns=len(alive), timeout=0)[0]) if alive else set()
        for number, worker in list(self._workers.items()):
            if worker.alive in settled and not self._serves(number, worker):
                continue
            if worker.channel is None and not enough and self._waited_for(worker, now) > START_TIMEOUT_S:
                raise WorkersLostError(_no_start(number))
            if isinstance(worker.channel, LinkChannel) and now - worker.heard > self._frozen_s:
                self._lose(number, Cause(f"no sign of life for {now - worker.heard:.0f} s; is it stopped?"))
                continue
            called = self._called.get(number)
            if called is not None and now - called.since > ANSWER_TIMEOUT_S:
                self._lose(number, Cause(f"it gave no answer for {ANSWER_TIMEOUT_S:.0f} s"))

    def _enough(self) -> bool:
        """Whether training can go on without those that have not started."""
        connected = sum(worker.channel is not None for worker in self._workers.values())
        return self._required is not None and connected >= self._required

    def _waited_for(self, worker: _Worker, now: float) -> float:
        """For how many seconds training has waited for a worker: not while there were enough others."""
        return now - max(worker.since, self._short_since if self._short_since is not None else now)

    def _serves(self, number: int, worker: _Worker) -> bool:
        """Whether a worker whose first call has settled can be called: through Ray, if at all."""
        if isinstance(worker.channel, RayChannel):
            return True
        try:
            pid = ray.get(worker.alive)
            if pid is None:  # its loop ended: the link closed, and will say so
                self._lose(number, Cause("its link closed"))
                return False
            worker.pid, worker.channel = pid, RayChannel(worker.actor)
            self._events.append(WorkerReady(number))
            return True
        except RayActorError as error:
            if worker.pid:
                self._lose_dead(number)
            else:
                self._lose(number, cause_of(error, f"it did not start: {_last_line(error)}"))
        except RayTaskError as error:
            if isinstance(error.cause, NodeUnfitError):
                self.unfit[error.cause.node] = str(error.cause)
                self._lose(number, Cause(str(error.cause)), replaceable=False)
                return False
            if isinstance(error.cause, ConnectionError):
                self._on_trouble(
                    f"worker {number} cannot reach the driver directly ({_last_line(error)}); "
                    "it is called through Ray, which is slower"
                )
                worker.alive = worker.actor.ready.remote()
                return True
            self._lose(number, cause_of(error, f"it failed: {_last_line(error)}"))
        except RayError as error:
            self._lose(number, cause_of(error, _last_line(error)))
        return False

    def _lose_dead(self, number: int) -> None:
        """Lose a worker whose process ended: find out why."""
        self._lose(number, self._causes.of_death(self._workers[number].alive))

    def _lose(self, number: int, cause: Cause, replaceable: bool = True) -> None:
        worker = self._forget(number)
        assert worker is not None
        ray.kill(worker.actor)
        pid = f" (pid {worker.pid})" if worker.pid else ""
        self._events.append(WorkerLost(number, cause.reason + pid, replaceable, cause.advice))

    def _forget(self, number: int) -> _Worker | None:
        worker = self._workers.pop(number, None)
        self._called.pop(number, None)
        if worker is not None and worker.channel is not None:
            if isinstance(worker.channel, LinkChannel):
                self._selector.unregister(worker.channel.link)
                _end(worker.channel)
            worker.channel.close()
        return worker


def _end(channel: LinkChannel) -> None:
    """End a worker of this machine at once: Ray takes 5 s to end one that is stopped, and its CPU is needed for the next."""
    with suppress(OSError):
        pid = channel.link.peer()
        if pid > 0:
            os.kill(pid, signal.SIGKILL)


def _open_to_other_machines(gate: Gate) -> None:
    """Where there are any, or where memory cannot be shared on this one (not Linux).

    With RAY_USE_TLS nothing may go unencrypted: workers on other machines are then called through Ray.
    """
    others = sum(node["Alive"] for node in ray.nodes()) > 1
    if (others or not supported) and os.environ.get("RAY_USE_TLS", "0") in ("", "0", "false"):
        gate.open_to(ray.util.get_node_ip_address())


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()


def _no_start(number: int) -> str:
    free, total = (source().get("CPU", 0) for source in (ray.available_resources, ray.cluster_resources))
    return (
        f"worker {number} did not start within {START_TIMEOUT_S:.0f} s: each worker needs one CPU, "
        f"and the cluster has {free:g} of {total:g} free. Use fewer workers, or wait until others are done"
    )


def ray_pool(
    workload: Workload,
    workers: int,
    calls: CallStyle = "link",
    on_trouble: Callable[[str], None] = lambda sentence: None,
    actor_options: ActorOptions | None = None,
) -> TransportPool:
    """Return a pool of `workers` >= 1 actors on the Ray that this process is connected to (see `local_ray`)."""
    return TransportPool(RayTransport(calls, on_trouble, actor_options), workers, workload, on_trouble)
