"""Whether a job's rows fit into the memory of the machines, before anything is loaded.

Refused is only what cannot be: more than the memory there is, by what workers need in any case. What may be too much is said.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dbp.data.dataset import Dataset
from dbp.errors import JobFileError, Problem
from dbp.jobs.job import Job
from dbp.sums.memory import WHAT_TO_CHANGE, RowShape, WorkerMemory, worker_memory
from dbp.sums.messages import Workload
from dbp.workers.machine_memory import MachineMemory, machine_memory

if TYPE_CHECKING:
    from dbp.workers.placement import Room

WARN_PER_CENT = 80
RAY_AND_DRIVER = 700 << 20  # measured: the processes of an embedded Ray 540 MiB, and the one that trains 180


def need_of(job: Job, dataset: Dataset, raw: Workload, workers: int, threads: int = 1) -> WorkerMemory:
    """Return what each worker needs; 0 workers: this process, with `threads`.

    Of a classification's classes, which nobody has counted yet, two are expected."""
    outputs = job.network.outputs or (2 if job.task == "classification" else len(dataset.targets))
    row = RowShape(
        inputs=dataset.expected_inputs,
        targets=1 if job.task == "classification" else len(dataset.targets),
        itemsize=np.dtype(job.training.precision).itemsize,
        input_bytes=None if dataset.compact is None else np.dtype(dataset.compact).itemsize,
        weighted=job.data.weight is not None or job.data.class_weights is not None,
        shuffled=job.training.batch != "full",
    )
    need = worker_memory(
        raw.shards,
        workers,
        row,
        (dataset.expected_inputs, *job.network.hidden, outputs),
        reading_bytes=dataset.reading_bytes,
        on_disk=job.data.cache == "disk",
        curvature=job.optimizer.needs_curvature,
    )
    return need if workers else need.with_threads(min(threads, max(each.count for each in raw.shards.values())))


@dataclass(frozen=True)
class Machine:
    """A machine, and how many workers are to be on it."""

    name: str  # as it is called in messages
    workers: int
    memory: MachineMemory
    overhead: int = 0  # bytes of other processes that the job brings


def check_memory(job: Job, need: WorkerMemory, machines: Sequence[Machine]) -> list[str]:
    """Return warnings of machines where memory may not do. JobFileError where it cannot do."""
    problems, warnings = [], []
    for machine in machines:
        count, memory = machine.workers, machine.memory
        if not memory.usable or not count:
            continue
        who = "1 worker" if count == 1 else f"{count} workers"
        verb = "needs" if count == 1 else "need"
        if count * need.least > memory.usable:
            problems.append(
                f"{who} {verb} at least {_size(count * need.least)} of memory, {_size(need.rows)} each for rows, and "
                f"{machine.name} has {_size(memory.usable)}; change one of: {WHAT_TO_CHANGE}"
            )
            continue
        most = count * need.most + machine.overhead
        if most * 100 > memory.available * WARN_PER_CENT:
            warnings.append(
                f"{who} may take up to {_size(most)} of memory, and {machine.name} has {_size(memory.available)} available; "
                f"should a worker be killed, change one of: {WHAT_TO_CHANGE}"
            )
    if problems:
        raise JobFileError(job.name, [Problem("workers", problem) for problem in problems])
    reserved = job.service.memory_per_worker
    if reserved is not None and reserved < need.most:
        warnings.append(
            f"service.memory_per_worker reserves {_size(reserved)}, and a worker may take up to {_size(need.most)}; "
            "expected as much"
        )
    return warnings


def memory_warnings(job: Job, need: WorkerMemory) -> list[str]:
    """Return what `check_memory` would say on this machine, all as warnings: the job may be meant for others."""
    try:
        return check_memory(job, need, [this_machine(job.required_workers)])
    except JobFileError as error:
        return [problem.message for problem in error.problems]


def machines(workers: int, room: Room | None) -> list[Machine]:
    """Return where workers will be: in a room, anywhere on the cluster that this process is part of, or on this machine.

    An unknown memory is left out.
    """
    ray = sys.modules.get("ray")
    if room is None and (not workers or ray is None or not ray.is_initialized()):
        return [this_machine(workers)]
    from dbp.workers.node_memory import memory_of_nodes

    if room is not None:
        places = Counter(list(room.nodes().values())[: max(workers, 1)])
        found = memory_of_nodes(set(places))
        return [
            Machine(f"node {found[node][0]}", count, found[node][1]) for node, count in places.items() if node in found
        ]
    nodes = [memory for _, memory in memory_of_nodes().values()]
    if not nodes or not all(memory.usable for memory in nodes):
        return []
    total = MachineMemory(sum(memory.usable for memory in nodes), sum(memory.available for memory in nodes))
    return [Machine(f"the cluster of {len(nodes)} nodes" if len(nodes) > 1 else "the cluster's node", workers, total)]


def this_machine(workers: int) -> Machine:
    """Return this machine with all workers of a job and a Ray of their own; 0: this process alone."""
    return Machine("this machine", max(workers, 1), machine_memory(), RAY_AND_DRIVER if workers else 0)


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
