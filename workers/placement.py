"""Room for a job on a cluster: a placement group, which is given whole or not at all.

So two jobs never wait for each other with half of their workers each. The room is reserved once for a submission and kept while
workers and coordinators in it die and are replaced: Ray moves the places of a lost node to other nodes where it can.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from dbp.jobs.job import Job
from dbp.workers.places import Resources, most_places, place_of

MOVED_S = 5.0  # Ray moves a lost node's place at once where there is room: after so long there is none
NODE_LOST_S = (
    60.0  # a node that has not started a task for so long is as good as lost; Ray itself takes 15 to 30 s to say so
)
_LOOK_S = 0.5


@dataclass(frozen=True)
class Need:
    """What a job asks of a cluster: places for workers, each on one node."""

    places: int
    each: Resources  # of every place: CPU, memory in bytes, and others by their names
    strictly: bool = False  # whether training waits for all of them also where it had them and lost some

    @classmethod
    def of(cls, job: Job) -> Need:
        """Return a job's need; without workers, its coordinator computes, in a place of its own."""
        return cls(max(1, job.required_workers), place_of(job), strictly=job.is_elastic)


def waits_for(need: Need, nodes: Sequence[Resources], free: Resources, verb: str = "begins") -> str:
    """Return the sentence that says what a job waits for. `nodes` are the resources of each node, `free` what all have free.

    `verb` is what it does when it has its room.
    """
    most = most_places(need.each, nodes)
    if need.each == {"CPU": 1.0}:
        what = f"waits for {_count(need.places, 'CPU')}; the cluster has"
        if most >= need.places:
            return f"{what} {most}, {math.floor(free.get('CPU', 0.0))} free"
        has = f"only {most}"
    else:
        each = " and ".join(_amount(name, amount) for name, amount in need.each.items())
        what = f"waits for {_count(need.places, 'place')} with {each}; the cluster has"
        if most >= need.places:
            return f"{what} {most}, not enough of them free"
        has = f"only {most}" if most else "none"
    fewer = f", or when it is resumed with fewer workers (--set workers={most})" if most else ""
    return f"{what} {has}: it {verb} when nodes are added{fewer}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _amount(name: str, amount: float) -> str:
    return f"{amount / 2**30:.3g} GiB of memory" if name == "memory" else f"{amount:g} {name}"


def cluster_nodes() -> list[Resources]:
    """Return the resources of each node that is there now."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@dataclass(frozen=True)
class Room:
    """The places of one job. Travels to the coordinator, which puts its workers into them."""

    group: PlacementGroup
    need: Need

    @classmethod
    def reserve(cls, need: Need, name: str) -> Room:
        """Ask Ray for the room; return at once."""
        return cls(ray.util.placement_group([dict(need.each)] * need.places, strategy="SPREAD", name=name), need)

    def release(self) -> None:
        """Give it back. Whatever runs in it is ended."""
        ray.util.remove_placement_group(self.group)

    def is_whole(self) -> bool:
        """Whether all places are there."""
        return str(ray.util.placement_group_table(self.group)["state"]) == "CREATED"

    def nodes(self) -> dict[int, str]:
        """Return the node of each place that is on one which lives, as far as Ray knows."""
        living = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        nodes = ray.util.placement_group_table(self.group)["bundles_to_node_id"]
        return {place: node for place, node in sorted(nodes.items()) if node in living}

    def places(self) -> list[int]:
        """Return the places that are there."""
        return list(self.nodes())

    def coordinator_options(self, place: int, computes: bool) -> dict[str, object]:
        """Return the options of the coordinator's actor: beside the worker of a place, or in its stead where it computes."""
        options: dict[str, object] = {"num_cpus": 0, "scheduling_strategy": self._strategy(place)}
        return {**options, **self._amounts(), "num_cpus": self.need.each["CPU"]} if computes else options

    def worker_options(self, place: int | None) -> dict[str, object]:
        """Return the options of the actor of the worker in a place, or in none, beside its one CPU."""
        return {"scheduling_strategy": "SPREAD" if place is None else self._strategy(place), **self._amounts()}

    def task_options(self) -> dict[str, object]:
        """Return the options of a task, beside its one CPU, that runs in whichever place has it free."""
        return {"scheduling_strategy": PlacementGroupSchedulingStrategy(self.group)}

    def has(self, place: int) -> bool:
        """Whether a place can be used, which is tried out; waits while Ray may yet move it."""
        ask = ray.remote(_nothing).options(num_cpus=0, max_retries=0, scheduling_strategy=self._strategy(place))
        probe = ask.remote()
        gone_since: float | None = None
        until = time.monotonic() + NODE_LOST_S
        while (now := time.monotonic()) < until:
            if ray.wait([probe], timeout=_LOOK_S)[0]:
                try:
                    ray.get(probe)
                    return True
                except RayError:  # its node went down just now
                    probe = ask.remote()
            if place in self.places():
                gone_since = None
            elif gone_since is None:
                gone_since = now
            elif now - gone_since > MOVED_S:
                break
        ray.cancel(probe, force=True)
        return False

    def _strategy(self, place: int) -> PlacementGroupSchedulingStrategy:
        return PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=place)

    def _amounts(self) -> dict[str, object]:
        """All that a place has but its CPU."""
        others = {name: amount for name, amount in self.need.each.items() if name not in ("CPU", "memory")}
        memory = self.need.each.get("memory")
        return {"resources": others, **({"memory": memory} if memory else {})} if others or memory else {}


def _nothing() -> None:
    """Run in a place, to see whether it can be used."""


def wait_for_room(
    room: Room, tell: Callable[[str], None], stopped: Callable[[], bool], moved_s: float = 3 * MOVED_S
) -> bool:
    """Wait until a room can be used, and tell what is waited for; False when stopped meanwhile.

    A room that was whole once may have lost places for good: then those that are left do, since they compute the same bits, unless
    the job wants them all strictly.
    """
    whole_before = bool(room.places())
    verb = "goes on" if whole_before else "begins"
    since = time.monotonic()
    while not room.is_whole():
        if stopped():
            return False
        if whole_before and not room.need.strictly and time.monotonic() - since > moved_s and room.places():
            return True
        tell(waits_for(room.need, cluster_nodes(), ray.available_resources(), verb))
        room.group.wait(_LOOK_S)
    return True
