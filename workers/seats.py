"""Workers in reserved places: a transport that knows which place each worker has, and whether there is one for another.

A worker that takes a lost one's place starts there; where the place went down with its node and Ray found no other, none is started
and the workers that are left go on alone. Where workers may come and go, see `elastic`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from dbp.sums.audit import Audit
from dbp.sums.auditing import RemovingTransport, audited
from dbp.sums.messages import Call, Event, WorkerLost, Workload
from dbp.sums.pool import TransportPool
from dbp.workers.elastic import ElasticTransport
from dbp.workers.nodes import Fitness
from dbp.workers.placement import Room
from dbp.workers.ray_pool import RayTransport

Trouble = Callable[[str], None]


def _silent(sentence: str) -> None:
    pass


class SeatedTransport:
    """Ray workers in the places of a room (a `Transport`)."""

    def __init__(self, room: Room, on_trouble: Trouble = _silent, fitness: Fitness | None = None) -> None:
        self._room = room
        self._free = deque(room.places())
        self._seats: dict[int, int] = {}  # by worker: its place
        self._somebody_left = False
        self._refused: deque[WorkerLost] = deque()
        self._inner = RayTransport(on_trouble=on_trouble, actor_options=self._options, fitness=fitness)

    def start(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        place = self._find_place()
        if place is None:
            self._refused.append(WorkerLost(worker, "there is no room for it", replaceable=False))
            return
        self._seats[worker] = place
        self._inner.start(worker, workload)

    def configure(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        self._inner.configure(worker, workload)

    def publish(self, parameters: NDArray[np.floating] | None) -> None:
        """See `Transport`."""
        self._inner.publish(parameters)

    def send(self, worker: int, call: Call) -> None:
        """See `Transport`."""
        self._inner.send(worker, call)

    def now(self) -> float:
        """See `Transport`."""
        return self._inner.now()

    def next_event(self, patience: float | None) -> Event | None:
        """See `Transport`."""
        if self._refused:
            return self._refused.popleft()
        event = self._inner.next_event(patience)
        if isinstance(event, WorkerLost):
            self._somebody_left = True
            place = self._seats.pop(event.worker)
            if event.replaceable:  # else the place is on a node where no worker can run
                self._free.append(place)
        return event

    def remove(self, worker: int, reason: str) -> None:
        """End a worker that is not to be trusted; WorkerLost follows."""
        self._inner.remove(worker, reason)

    def pids(self) -> dict[int, int]:
        """Return the process id of every worker that has started."""
        return self._inner.pids()

    def close(self) -> None:
        """See `Transport`."""
        self._inner.close()

    def _find_place(self) -> int | None:
        """Return a free place. Those of the beginning are there; one that somebody was lost from is tried out first."""
        for _ in range(len(self._free)):
            place = self._free.popleft()
            if not self._somebody_left or self._room.has(place):
                return place
            self._free.append(place)
        return None

    def _options(self, worker: int) -> Mapping[str, object]:
        return self._room.worker_options(self._seats[worker])


def seated_pool(
    workload: Workload,
    room: Room,
    workers: int,
    on_trouble: Trouble = _silent,
    on_loss: Trouble | None = None,
    required: int | None = None,
    audit: Audit | None = None,
    fitness: Fitness | None = None,
) -> TransportPool:
    """Return a pool of `workers` >= 1 actors in a room. `on_loss` hears of workers that died (default: `on_trouble`).

    With `required` so many are waited for, and have places; the others come and go. `fitness` is what every node must have where a
    worker starts.
    """
    inner: RemovingTransport
    if required is None:
        inner = SeatedTransport(room, on_trouble, fitness)
    else:
        inner = ElasticTransport(room, required, on_trouble, fitness)
    return TransportPool(audited(inner, audit), workers, workload, on_loss or on_trouble, required, on_trouble)
