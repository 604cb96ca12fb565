"""Opening a job's tables: the workers look through large ones, before any of them has rows of its own."""

from __future__ import annotations

import os
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from dbp.data.dataset import Dataset
from dbp.jobs.job import Job
from dbp.jobs.sweep import members
from dbp.training.observers import Observer
from dbp.workers.preparation import largest_vector_bytes, open_dataset

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from dbp.data.text_scan import Answer, LookTask
    from dbp.workers.looking import RayLookers
    from dbp.workers.placement import Room


class Opening:
    """Opens the tables of a job (`Lookers`). Use as a context manager around all that uses the job's pool.

    A Ray that has to be started so that workers can look through a table is left running for the pool, to the end.
    """

    def __init__(
        self, job: Job, observer: Observer, workers: int, most: int, address: str | None, room: Room | None
    ) -> None:
        self._job, self._observer, self._address, self._room = job, observer, address, room
        self._workers = max(workers, most if address or room is not None else min(most, os.cpu_count() or 1))
        self._required = workers
        self._vector_bytes = 0
        self._stack = ExitStack()
        self._lookers: RayLookers | None = None

    def __enter__(self) -> Opening:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def dataset(self) -> Dataset:
        """Open the tables and check what their metadata can tell. DataError, WorkersLostError."""
        if not self._required:
            return open_dataset(self._job)
        dataset = open_dataset(self._job, self, self._foreseen)
        if self._need(dataset) > self._vector_bytes:  # the first rows did not show it: the pool starts a larger one
            self._stack.close()
        return dataset

    def _foreseen(self, dataset: Dataset) -> None:
        self._vector_bytes = max(self._vector_bytes, self._need(dataset))

    def _need(self, dataset: Dataset) -> int:
        return max(largest_vector_bytes(member.job, dataset) for member in members(self._job))

    def results(self, tasks: Sequence[LookTask[Answer]]) -> Generator[Answer]:
        """See `Lookers`."""
        if self._lookers is None:
            self._lookers = self._ready()
        return self._lookers.results(tasks)

    def told(self, path: str, done: int, total: int) -> None:
        """See `Lookers`."""
        if not done:
            self._observer.stage(f"reading {path} ({total >> 20:,} MiB)")
        self._observer.reading(path, done, total)

    def _ready(self) -> RayLookers:
        if self._room is None:
            from dbp.workers.local_ray import cluster_ray, embedded_ray

            address = self._address
            self._stack.enter_context(
                cluster_ray(address) if address else embedded_ray(self._workers, self._vector_bytes)
            )
        from dbp.workers.looking import RayLookers

        options = None if self._room is None else self._room.task_options()
        return RayLookers(self._workers, options)
