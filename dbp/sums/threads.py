"""Workers that are threads of this process: for one machine, where nothing has to be sent and nothing copied.

What they are asked is carried out once all have been asked: gradients over all rows by the kernel's own threads (`crew`), which
never wait for Python's lock, and all else (reading rows, losses, batches) by threads of Python's. The thread that asks is the first
of them: on a machine of W cores, W workers are W threads. None of them can be lost alone.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dbp.errors import DbpError
from dbp.network.crew import Crew
from dbp.sums.messages import Call, CallAnswered, CallRaised, Event, RowSource, WorkerReady, Workload
from dbp.sums.pool import TransportPool
from dbp.sums.shard_worker import GradientTask, ShardWorker

Vector = NDArray[np.floating]


class _Due(NamedTuple):
    """A worker that is asked something."""

    worker: int
    call: Call


class ThreadTransport:
    """See `Transport`. JobFailedError where the system gives no `threads` threads."""

    def __init__(self, threads: int) -> None:
        self._crew = Crew(threads)
        self._others = ThreadPoolExecutor(max(threads - 1, 1), thread_name_prefix="dbp-worker")
        self._workers: dict[int, ShardWorker] = {}
        self._due: list[_Due] = []
        self._events: deque[Event] = deque()
        self._parameters: Vector | None = None
        self._sources: dict[int, tuple[RowSource, RowSource]] = {}  # by worker: the one it was told of, and its own
        self._stopped = threading.Event()

    def start(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        self._workers[worker] = ShardWorker(self._own(worker, workload), self._stopped)
        self._events.append(WorkerReady(worker))

    def configure(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        self._workers[worker].configure(self._own(worker, workload))

    def publish(self, parameters: Vector | None) -> None:
        """See `Transport`."""
        self._parameters = parameters

    def send(self, worker: int, call: Call) -> None:
        """See `Transport`."""
        self._due.append(_Due(worker, call))

    def now(self) -> float:
        """See `Transport`."""
        return time.monotonic()

    def next_event(self, patience: float | None) -> Event | None:
        """See `Transport`. Carries out what is due; so nobody is ever late."""
        if not self._events:
            due, self._due = self._due, []
            if not due:
                raise RuntimeError("an answer is waited for, and nobody was asked")
            self._events.extend(self._by_crew(due) or self._by_python(due))
        return self._events.popleft()

    def close(self) -> None:
        """Drop the workers and their rows. Whoever is still reading ends with the shard that he reads."""
        self._stopped.set()
        self._others.shutdown(cancel_futures=True)
        self._crew.close()
        self._workers.clear()

    def _by_crew(self, due: Sequence[_Due]) -> list[Event] | None:
        """Return the answers where all that is due are gradients that need no Python; else None."""
        tasks: list[GradientTask] = []
        try:
            for worker, call in due:
                task = self._workers[worker].gradient_task(call, self._parameters)
                if task is None:
                    return None  # for the others, too: they are of one kind
                tasks.append(task)
        except DbpError:
            return None
        self._crew.run([task.task for task in tasks])
        return [CallAnswered(at.worker, at.call.number, task.answer()) for at, task in zip(due, tasks, strict=True)]

    def _by_python(self, due: Sequence[_Due]) -> list[Event]:
        first, *others = due
        asked = [self._others.submit(self._answer, each) for each in others]
        return [self._answer(first), *(each.result() for each in asked)]

    def _answer(self, due: _Due) -> Event:
        worker, call = due
        try:
            return CallAnswered(worker, call.number, self._workers[worker].compute(call, self._parameters))
        except DbpError as error:
            return CallRaised(worker, call.number, error)

    def _own(self, worker: int, workload: Workload) -> Workload:
        """Return the workload for a thread that reads at the same time as others: with files of its own."""
        told, own = self._sources.get(worker, (None, None))
        if told is not workload.source or own is None:
            own = copy.deepcopy(workload.source)
            self._sources[worker] = workload.source, own
        return replace(workload, source=own)


def thread_pool(workload: Workload, threads: int) -> TransportPool:
    """Return the pool of workers that are threads of this process. JobFailedError where the system gives no more threads."""
    return TransportPool(ThreadTransport(threads), threads, workload)
