"""How many workers find room on nodes: arithmetic that both the client, which has no Ray, and the driver need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dbp.jobs.job import Job

Resources = Mapping[str, float]


def place_of(job: Job) -> dict[str, float]:
    """Return what each place of a job has: a CPU for a worker, or for each thread of a coordinator that computes."""
    memory = job.service.memory_per_worker
    cpus = 1.0 if job.required_workers else float(job.threads)
    return {"CPU": cpus, **job.service.resources, **({"memory": float(memory)} if memory else {})}


def most_places(each: Resources, nodes: Sequence[Resources]) -> int:
    """Return how many places like `each` nodes with these resources have, used or not."""
    wanted = [(name, amount) for name, amount in each.items() if amount > 0]
    # The slack is for sums such as 0.1 + 0.2.
    return sum(min(math.floor(node.get(name, 0.0) / amount + 1e-9) for name, amount in wanted) for node in nodes)
