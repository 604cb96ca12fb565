"""Workers that come and go, in a room and beyond it: a transport for jobs with a range of workers.

As many as the job needs at least have places; they are waited for. A place that goes down with its node stays its worker's, which
starts as soon as Ray has moved the place, or the node is replaced. The others have no place: they start when there is room and
nobody else waits for it, and leave when somebody does (see `growth`). Where fewer than the least number are left and no place is
to be had, TooFewWorkersError ends the run, and whoever reserved the room waits for more of it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
import ray
from numpy.typing import NDArray

from dbp.errors import TooFewWorkersError
from dbp.sums.messages import Call, Event, WorkerLeft, WorkerLost, WorkerReady, Workload
from dbp.workers.growth import Group, Plan, Surroundings, claims_of, plan
from dbp.workers.nodes import Fitness
from dbp.workers.placement import MOVED_S, Room
from dbp.workers.places import most_places
from dbp.workers.ray_pool import RayTransport

LOOK_S = 1.0  # how often the cluster is looked at
SETTLE_S = 5.0  # after workers left, how long it may take until whoever waited has their room

Trouble = Callable[[str], None]


class Lookout:
    """Looks at the cluster around a room every second, in a thread: training waits for no answer of Ray's."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._closed = threading.Event()
        self.latest: Surroundings | None = None
        self.trouble = ""  # why it could not be looked at the last time
        self._thread = threading.Thread(target=self._watch, name="dbp-lookout", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join(timeout=LOOK_S)

    def _watch(self) -> None:
        while not self._closed.is_set():
            try:
                self.latest, self.trouble = self._look(), ""
            except Exception as error:  # Ray's, of many kinds, where its head is away: what was seen last holds
                self.trouble = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
            self._closed.wait(LOOK_S)

    def _look(self) -> Surroundings:
        groups: list[Group] = list(ray.util.placement_group_table().values())
        nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
        return Surroundings(
            living=frozenset(self._room.places()),
            free=most_places(self._room.need.each, [ray.available_resources()]),
            claims=claims_of(groups, self._room.group.id.hex(), nodes),
        )


class ElasticTransport:
    """See the module (a `Transport`). `required` workers have places."""

    def __init__(self, room: Room, required: int, on_trouble: Trouble, fitness: Fitness | None = None) -> None:
        self._room, self._required, self._on_trouble = room, required, on_trouble
        self._free = deque(range(room.need.places))
        self._seats: dict[int, int] = {}  # by worker: its place
        self._held: deque[int] = deque()  # workers without a place that are not started
        self._workloads: dict[int, Workload] = {}  # of those
        self._asked: list[int] = []  # those that are started and not there yet
        self._there: list[int] = []  # those that are there
        self._events: deque[Event] = deque()
        self._short_since: float | None = None
        self._quiet_until = 0.0  # by `now`: nobody leaves before
        self._seen: Surroundings | None = None
        self._blind = False  # the cluster cannot be looked at, and that was told
        self._inner = RayTransport(
            on_trouble=on_trouble, actor_options=self._options, required=required, fitness=fitness
        )
        self._lookout = Lookout(room)

    def start(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        if self._free:
            self._seats[worker] = self._free.popleft()
            self._inner.start(worker, workload)
        else:
            self._held.append(worker)
            self._workloads[worker] = workload

    def configure(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        self._inner.configure(worker, workload)

    def publish(self, parameters: NDArray[np.floating] | None) -> None:
        """See `Transport`. Between two sums workers may leave."""
        self._look_around(may_leave=True)
        self._inner.publish(parameters)

    def send(self, worker: int, call: Call) -> None:
        """See `Transport`."""
        self._inner.send(worker, call)

    def now(self) -> float:
        """See `Transport`."""
        return self._inner.now()

    def next_event(self, patience: float | None) -> Event | None:
        """See `Transport`. TooFewWorkersError where too few are left and there is no room for more."""
        until = None if patience is None else self.now() + patience
        while not self._events:
            self._look_around(may_leave=False)
            left = LOOK_S if until is None else min(until - self.now(), LOOK_S)
            event = self._inner.next_event(max(left, 0.0))
            if event is not None:
                self._events.append(self._noted(event))
            elif left <= 0:
                return None
            else:
                self._check_number()
        return self._events.popleft()

    def remove(self, worker: int, reason: str) -> None:
        """End a worker that is not to be trusted; WorkerLost follows."""
        self._inner.remove(worker, reason)

    def pids(self) -> dict[int, int]:
        """Return the process id of every worker that has started."""
        return self._inner.pids()

    def close(self) -> None:
        """See `Transport`."""
        self._lookout.close()
        self._inner.close()

    def _noted(self, event: Event) -> Event:
        """Keep the books on who is there."""
        if isinstance(event, WorkerReady) and event.worker in self._asked:
            self._asked.remove(event.worker)
            self._there.append(event.worker)
        if not isinstance(event, WorkerLost):
            return event
        for some in (self._asked, self._there):
            if event.worker in some:
                some.remove(event.worker)
                del self._workloads[event.worker]
        place = self._seats.pop(event.worker, None)
        if place is not None and event.replaceable:
            self._free.append(place)
        # What cannot run on one node may on another: an unfit node's place is given up, not its worker.
        return WorkerLost(event.worker, event.reason, advice=event.advice)

    def _look_around(self, may_leave: bool) -> None:
        """See what is new in the cluster, and have workers start or leave."""
        around, trouble = self._lookout.latest, self._lookout.trouble
        if trouble and not self._blind:
            self._on_trouble(f"the cluster cannot be looked at ({trouble}); no workers join or leave until it can")
        self._blind = bool(trouble)
        if around is None or around is self._seen or (around.claims and not may_leave):
            return
        self._seen = around
        if self.now() >= self._quiet_until:
            spare = min(len(self._there), max(len(self._inner.pids()) - self._required, 0))
            self._carry_out(plan(around, self._required, spare, len(self._asked), len(self._held)))

    def _carry_out(self, doing: Plan) -> None:
        if doing.withdraw:
            for worker in self._asked:
                self._inner.retire(worker)
            self._held.extendleft(reversed(self._asked))
            self._asked.clear()
        if doing.leave:
            self._quiet_until = self.now() + SETTLE_S
            who = " and ".join(f"{claim.job} ({claim.places})" for claim in doing.claims)
            count = "1 worker leaves" if doing.leave == 1 else f"{doing.leave} workers leave"
            self._on_trouble(f"{count}, for jobs that wait for room: {who}")
            for _ in range(doing.leave):
                worker = self._there.pop()
                self._inner.retire(worker)
                del self._workloads[worker]
                self._events.append(WorkerLeft(worker))
        for _ in range(doing.start):
            worker = self._held.popleft()
            self._asked.append(worker)
            self._inner.start(worker, self._workloads[worker])

    def _check_number(self) -> None:
        """Raise TooFewWorkersError where too few workers are there, or on their way to a place that lives, for a while."""
        around = self._lookout.latest
        there = self._inner.pids().keys()
        living = set(self._seats.values()) if around is None else around.living
        coming = [worker for worker, place in self._seats.items() if worker not in there and place in living]
        if len(there) + len(coming) >= self._required:
            self._short_since = None
            return
        if self._short_since is None:
            self._short_since = self.now()
        if self.now() - self._short_since > MOVED_S:
            raise TooFewWorkersError(
                f"{len(there)} of at least {self._required} workers {'is' if len(there) == 1 else 'are'} left, "
                "and there is no room for more"
            )

    def _options(self, worker: int) -> Mapping[str, object]:
        options = self._room.worker_options(self._seats.get(worker))
        if worker in self._seats or not self._inner.unfit:
            return options
        return {**options, "label_selector": {"ray.io/node-id": f"!in({','.join(sorted(self._inner.unfit))})"}}
