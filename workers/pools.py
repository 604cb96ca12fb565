"""Which pool a job trains on: this process, an embedded Ray, or a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dbp.sums.audit import Audit
from dbp.sums.auditing import audited
from dbp.sums.messages import Workload
from dbp.sums.pool import TransportPool, serial_pool
from dbp.sums.threads import thread_pool

if TYPE_CHECKING:
    from dbp.workers.nodes import Fitness
    from dbp.workers.placement import Room

Trouble = Callable[[str], None]


@contextmanager
def open_pool(
    workload: Workload,
    workers: int,
    address: str | None,
    vector_bytes: int,
    on_trouble: Trouble,
    on_loss: Trouble | None = None,
    room: Room | None = None,
    most: int = 0,
    audit: Audit | None = None,
    fitness: Fitness | None = None,
    threads: int = 1,
) -> Iterator[TransportPool]:
    """Open the pool for `workers` workers and close it, with the Ray it started, at the end; 0 workers: `threads` of this process.

    `vector_bytes` is an upper bound of a parameter vector's size. `on_loss` hears of every worker that died, `on_trouble` of
    all else (and of that, too, where there is no `on_loss`). `room` is where workers are put on the Ray that this process is part
    of. With `most` > `workers` others join where there is room. `audit` has workers check each other, where there are any.
    `fitness` is what every node must have where a worker starts in a room.
    InputError when no cluster answers at `address`.
    """
    if workers == 0:
        pool = serial_pool(workload) if threads == 1 else thread_pool(workload, threads)
        try:
            yield pool
        finally:
            pool.close()
        return
    if room is not None:
        from dbp.workers.seats import seated_pool

        required = workers if most > workers else None
        pool = seated_pool(workload, room, max(most, workers), on_trouble, on_loss, required, audit, fitness)
        try:
            yield pool
        finally:
            pool.close()
        return
    # Ray is imported only where it is needed: it takes a second.
    from dbp.workers.local_ray import cluster_ray, embedded_ray
    from dbp.workers.ray_pool import RayTransport

    if not address:
        most = min(most, os.cpu_count() or 1)
    count, required = max(most, workers), workers if most > workers else None
    with cluster_ray(address) if address else embedded_ray(count, vector_bytes):
        transport = audited(RayTransport(on_trouble=on_trouble, required=required), audit)
        pool = TransportPool(transport, count, workload, on_loss or on_trouble, required, on_trouble)
        try:
            yield pool
        finally:
            pool.close()
