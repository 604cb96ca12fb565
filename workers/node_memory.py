"""Asks the nodes of a cluster how much memory processes on them may use."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dbp.workers.machine_memory import MachineMemory, machine_memory

ANSWER_S = 60.0


def memory_of_nodes(only: Collection[str] | None = None) -> dict[str, tuple[str, MachineMemory]]:
    """Return address and memory by node id, of all living nodes or of `only` some. A node that does not answer has 0 of it."""
    found: dict[str, tuple[str, MachineMemory]] = {}
    asked = {}
    for node in ray.nodes():
        if node["Alive"] and (only is None or node["NodeID"] in only):
            found[node["NodeID"]] = (str(node["NodeManagerAddress"]), MachineMemory(0, 0))
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(machine_memory).options(num_cpus=0, max_retries=1, scheduling_strategy=strategy)
            asked[task.remote()] = node["NodeID"]
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S) if asked else ([], [])
    for ref in ready:
        with suppress(RayError):
            found[asked[ref]] = (found[asked[ref]][0], ray.get(ref))
    return found
