"""How many workers beyond its least number a job should have: arithmetic on what its cluster looks like, no I/O.

A job that waits for room, and that the cluster could hold, comes first: nobody starts further workers meanwhile, and workers
beyond the least number give their CPUs back, if these and what is free are enough for it. Otherwise a job takes half of what is
free at a time, and no more than it has, so that two which grow at once get about as much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from dbp.workers.places import most_places


class Group(TypedDict):
    """What of an entry of Ray's table of placement groups counts here."""

    placement_group_id: str
    name: str
    state: str
    bundles: Mapping[int, Mapping[str, float]]  # by place
    bundles_to_node_id: Mapping[int, str]


@dataclass(frozen=True)
class Claim:
    """What another job waits for."""

    job: str  # its id
    places: int


@dataclass(frozen=True)
class Surroundings:
    """What a job sees of its cluster, at one moment."""

    living: frozenset[int]  # of its own places: those on nodes that live
    free: int  # places for which there is room
    claims: tuple[Claim, ...]  # of others, that the cluster could hold


@dataclass(frozen=True)
class Plan:
    """What to do with the workers beyond the least number."""

    start: int = 0
    leave: int = 0  # of those that are there
    withdraw: bool = False  # those that were asked to start and are not there yet
    claims: tuple[Claim, ...] = ()  # for which they leave


def plan(around: Surroundings, least: int, there: int, asked: int, held: int) -> Plan:
    """Return what to do where `there` workers beyond the `least` are up, `asked` are starting and `held` could be started."""
    if around.claims:
        met, wanted = [], 0
        for claim in around.claims:
            if wanted + claim.places <= around.free + there:
                met.append(claim)
                wanted += claim.places
        leave = max(wanted - around.free, 0)
        return Plan(leave=leave, withdraw=asked > 0, claims=tuple(met))
    # One is always asked for: where nodes are added on demand, that is the demand.
    wave = max(min(math.ceil(around.free / 2), least + there), 1)
    return Plan(start=max(min(wave - asked, held), 0))


_OURS, _STRICTLY = "dbp ", " strictly"


def group_name(job: str, strictly: bool) -> str:
    """Return the name of a job's placement group, which tells others whose it is. `strictly`: it waits for every place it lost."""
    return _OURS + job + (_STRICTLY if strictly else "")


def claims_of(groups: Sequence[Group], own: str, nodes: Mapping[str, Mapping[str, float]]) -> tuple[Claim, ...]:
    """Return what submitted jobs other than `own` (a placement group's id) wait for, by Ray's table of placement groups.

    `nodes` are the resources of the nodes that live, by id. Left out is what they could not hold if they were empty: to wait for
    that helps nobody.
    """
    found = []
    for group in groups:
        name, bundles = group["name"], group["bundles"]
        if not name.startswith(_OURS) or group["placement_group_id"] == own:
            continue
        where = group["bundles_to_node_id"]
        waiting = group["state"] == "PENDING" or (group["state"] == "RESCHEDULING" and name.endswith(_STRICTLY))
        missing = sum(where.get(place) not in nodes for place in bundles) if waiting else 0
        if missing and most_places(next(iter(bundles.values())), list(nodes.values())) >= len(bundles):
            found.append(Claim(name.removeprefix(_OURS).removesuffix(_STRICTLY), missing))
    return tuple(sorted(found, key=lambda claim: claim.job))
