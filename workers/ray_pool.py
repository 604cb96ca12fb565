"""The pool of Ray actors: futures become events for `assignment`, its instructions become calls.

Answers are taken as they arrive: a worker rings the doorbell when it has one (see `doorbell`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import ray
from numpy.typing import NDArray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayChannelError, RayChannelTimeoutError

from dbp.errors import WorkersLostError
from dbp.sums.messages import Call, Event, WorkerLost, WorkerReady, Workload
from dbp.sums.pool import TransportPool
from dbp.workers.actor import GradientWorker
from dbp.workers.channels import CallStyle, Channel, CompiledChannel, PlainChannel, Published
from dbp.workers.doorbell import Doorbell

Vector = NDArray[np.floating]

START_TIMEOUT_S = 120.0
# An answer later than this means the worker hangs. Long, because nothing yet tells slow from dead; loading its shards counts too.
ANSWER_TIMEOUT_S = 3600.0

LOOK_AROUND_S = 0.2  # how often, while nobody rings, the dead are looked for
TRUST_DOORBELL_S = 20.0  # a ring may be lost: after this long a channel is waited on without one

ActorOptions = Callable[[int], Mapping[str, object]]  # by worker: where it may run (see `placement`)

WORKER_DIED = (RayActorError, RayChannelError)
TOO_LATE = (GetTimeoutError, RayChannelTimeoutError)


@dataclass
class _Worker:
    actor: ActorHandle
    started: ray.ObjectRef
    pid: int = 0
    told: ray.ObjectRef | None = None  # of a new workload, until it has arrived
    channel: Channel | None = None
    vector_bytes: int = 0  # the largest vector that the channel takes


@dataclass(frozen=True)
class _Wait:
    call: int
    since: float  # monotonic seconds


class RayTransport:
    """Workers as Ray actors, one CPU each, on the Ray that this process is connected to."""

    def __init__(
        self,
        calls: CallStyle = "compiled",
        on_trouble: Callable[[str], None] = lambda sentence: None,
        actor_options: ActorOptions | None = None,
    ) -> None:
        # A dying worker is an event here, not an error: Ray's own report of it would only confuse.
        logging.getLogger("ray.dag.compiled_dag_node").setLevel(logging.CRITICAL)
        self._calls: CallStyle = calls
        self._on_trouble = on_trouble
        self._actor_options = actor_options
        self._workers: dict[int, _Worker] = {}
        self._starting: list[int] = []
        self._called: dict[int, _Wait] = {}  # by worker
        self._doorbell = Doorbell(ray.util.get_node_ip_address())
        self._vector_bytes = 0
        self._published = Published(None)

    def start(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        options = self._actor_options(worker) if self._actor_options else {}
        actor_class = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0, **options)(GradientWorker)
        actor = actor_class.remote(worker, workload, self._doorbell.bell)
        self._workers[worker] = _Worker(actor, actor.ready.remote())
        self._starting.append(worker)
        self._note_size(workload)

    def configure(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        known = self._workers[worker]
        self._note_size(workload)
        # An open graph has a thread of its own in the worker, which waits for calls meanwhile: no call is under way now.
        known.told = known.actor.configure.remote(workload)
        if known.channel is not None and known.vector_bytes < self._vector_bytes:
            known.channel.close()
            known.channel = None
        if known.channel is None and self._vector_bytes:
            self._open_channel(known)  # now, so that those of all workers open at once

    def publish(self, parameters: Vector | None) -> None:
        """See `Transport`. Compiled graphs carry the vector with the call, through the worker's own shared memory."""
        self._published = Published(parameters)

    def send(self, worker: int, call: Call) -> None:
        """See `Transport`."""
        self._called[worker] = _Wait(call.number, time.monotonic())
        known = self._workers[worker]
        try:
            if known.told is not None:
                ray.get(known.told)
                known.told = None
            if known.channel is None:
                self._open_channel(known)
            if known.channel is not None:
                known.channel.send(call, self._published)
        except WORKER_DIED:
            known.channel = None  # `next_event` finds no channel and reports the death

    def next_event(self) -> Event:
        """See `Transport`."""
        while self._called:
            worker = self._next_caller()
            if worker is not None:
                del self._called[worker]
                return self._answer_of(worker)
        return self._next_start(self._starting.pop(0))

    def _next_caller(self) -> int | None:
        """Return a worker whose answer is there or nearly so, or who is dead; None when there is none yet."""
        ring = self._doorbell.wait(LOOK_AROUND_S)
        if ring is not None:
            waited = self._called.get(ring.worker)
            return ring.worker if waited is not None and waited.call == ring.call else None
        for worker, waited in self._called.items():
            channel = self._workers[worker].channel
            if channel is None or channel.settled() or time.monotonic() - waited.since > TRUST_DOORBELL_S:
                return worker
        return None

    def pids(self) -> dict[int, int]:
        """Return the process id of every worker that has started."""
        return {number: worker.pid for number, worker in self._workers.items() if worker.pid}

    def close(self) -> None:
        """See `Transport`."""
        for worker in self._workers.values():
            if worker.channel is not None:
                worker.channel.close()
            ray.kill(worker.actor)
        self._workers.clear()
        self._doorbell.close()

    def _note_size(self, workload: Workload) -> None:
        if workload.training is not None:
            itemsize = np.dtype(workload.training.precision).itemsize
            # Never less than before: a channel that took a larger vector takes a smaller one, and opening one takes a second.
            self._vector_bytes = max(self._vector_bytes, workload.training.longest_answer * itemsize)

    def _open_channel(self, worker: _Worker) -> None:
        """Give a worker its channel; leaves it without one if it is dead."""
        worker.vector_bytes = self._vector_bytes
        # Before there is something to train columns are looked at, once: not worth a graph.
        if self._calls == "plain" or not self._vector_bytes:
            worker.channel = PlainChannel(worker.actor)
            return
        try:
            worker.channel = CompiledChannel(worker.actor, self._vector_bytes)
        except WORKER_DIED:
            worker.channel = None
        except Exception as error:  # an experimental interface may fail in its own ways
            self._on_trouble(f"Ray's compiled graphs do not work here ({error}); using plain calls, which are slower")
            self._calls = "plain"
            worker.channel = PlainChannel(worker.actor)

    def _answer_of(self, number: int) -> Event:
        worker = self._workers[number]
        if worker.channel is None:
            return self._lost(number, "its process died")
        try:
            return worker.channel.receive(ANSWER_TIMEOUT_S)
        except TOO_LATE:
            return self._lost(number, f"it gave no answer for {ANSWER_TIMEOUT_S:.0f} s")
        except WORKER_DIED:
            return self._lost(number, "its process died")

    def _next_start(self, number: int) -> Event:
        worker = self._workers[number]
        try:
            worker.pid = ray.get(worker.started, timeout=START_TIMEOUT_S)
            return WorkerReady(number)
        except RayActorError as error:
            return self._lost(number, f"it did not start: {str(error).strip().splitlines()[-1].strip()}")
        except GetTimeoutError:
            free, total = (source().get("CPU", 0) for source in (ray.available_resources, ray.cluster_resources))
            raise WorkersLostError(
                f"worker {number} did not start within {START_TIMEOUT_S:.0f} s: each worker needs one CPU, "
                f"and the cluster has {free:g} of {total:g} free. Use fewer workers, or wait until others are done"
            ) from None

    def _lost(self, number: int, reason: str) -> WorkerLost:
        worker = self._workers.pop(number)
        if worker.channel is not None:
            worker.channel.close()
        ray.kill(worker.actor)
        return WorkerLost(number, reason + (f" (pid {worker.pid})" if worker.pid else ""))


def ray_pool(
    workload: Workload,
    workers: int,
    calls: CallStyle = "compiled",
    on_trouble: Callable[[str], None] = lambda sentence: None,
    actor_options: ActorOptions | None = None,
) -> TransportPool:
    """Return a pool of `workers` >= 1 actors on the Ray that this process is connected to (see `local_ray`)."""
    return TransportPool(RayTransport(calls, on_trouble, actor_options), workers, workload, on_trouble)
