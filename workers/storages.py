"""Reading job directories of a service: directly where this machine reaches them, through the cluster where it does not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from dbp.errors import ServiceError
from dbp.workers import reading
from dbp.workers.cluster_reading import PART_BYTES, ClusterReading
from dbp.workers.reading import CheckpointFacts, FileFacts, Glimpse

_NEAR_PART_BYTES = 64 << 20


class Reading(Protocol):
    """The questions of `reading.py` about one storage."""

    is_near: bool

    def describe_jobs(self, jobs: Sequence[str] | None = None) -> list[dict[str, object]]:
        """See `reading`."""
        ...

    def glimpses(self, job: str, offset: int = 0) -> Iterator[Glimpse]:
        """Yield how the job is, again and again; the caller decides how often, and when to end."""
        ...

    def checkpoints(self, job: str) -> list[CheckpointFacts]:
        """See `reading`."""
        ...

    def files(self, job: str) -> list[FileFacts]:
        """See `reading`."""
        ...

    def content(self, job: str, file: FileFacts) -> Iterator[bytes]:
        """Yield a file in parts."""
        ...

    def remove(self, job: str) -> bool:
        """See `reading`."""
        ...


class NearReading:
    """A storage that this machine reaches."""

    is_near = True

    def __init__(self, storage: str) -> None:
        self._storage = storage

    def describe_jobs(self, jobs: Sequence[str] | None = None) -> list[dict[str, object]]:
        """See `reading`."""
        return reading.describe_jobs(self._storage, jobs)

    def glimpses(self, job: str, offset: int = 0) -> Iterator[Glimpse]:
        """See `Reading`."""
        while True:
            seen = reading.glimpse(self._storage, job, offset)
            offset = seen["offset"]
            yield seen

    def checkpoints(self, job: str) -> list[CheckpointFacts]:
        """See `reading`."""
        return reading.checkpoints(self._storage, job)

    def files(self, job: str) -> list[FileFacts]:
        """See `reading`."""
        return reading.files(self._storage, job)

    def content(self, job: str, file: FileFacts) -> Iterator[bytes]:
        """See `Reading`."""
        for start, length in _parts(file, _NEAR_PART_BYTES):
            yield reading.part(self._storage, job, file["name"], start, length)

    def remove(self, job: str) -> bool:
        """See `reading`."""
        return reading.remove(self._storage, job)


class FarReading:
    """A storage that only the cluster reaches. Each question is a small job there, and takes some seconds."""

    is_near = False

    def __init__(self, storage: str, cluster: ClusterReading) -> None:
        self._storage, self._cluster = storage, cluster

    def describe_jobs(self, jobs: Sequence[str] | None = None) -> list[dict[str, object]]:
        """See `reading`."""
        wanted = None if jobs is None else list(jobs)
        return cast("list[dict[str, object]]", self._json("describe_jobs", jobs=wanted))

    def glimpses(self, job: str, offset: int = 0) -> Iterator[Glimpse]:
        """See `Reading`."""
        while True:
            for data in self._cluster.watch(self._storage, job, offset):
                seen = cast("Glimpse", _parsed(data))
                offset = seen["offset"]
                yield seen

    def checkpoints(self, job: str) -> list[CheckpointFacts]:
        """See `reading`."""
        return cast("list[CheckpointFacts]", self._json("checkpoints", job=job))

    def files(self, job: str) -> list[FileFacts]:
        """See `reading`."""
        return cast("list[FileFacts]", self._json("files", job=job))

    def content(self, job: str, file: FileFacts) -> Iterator[bytes]:
        """See `Reading`."""
        for start, length in _parts(file, PART_BYTES):
            yield self._cluster.ask(
                "part", storage=self._storage, job=job, name=file["name"], offset=start, length=length
            )

    def remove(self, job: str) -> bool:
        """See `reading`."""
        return bool(self._json("remove", job=job))

    def _json(self, question: str, **arguments: object) -> Any:  # Any: JSON
        return _parsed(self._cluster.ask(question, storage=self._storage, **arguments))


def _parts(file: FileFacts, most: int) -> Iterator[tuple[int, int]]:
    """Cut a file into parts; a small file of records may be replaced meanwhile, and is read whole, whatever its size is then."""
    if file["name"].endswith((".json", ".yaml")):
        yield 0, most
        return
    for start in range(0, file["bytes"], most):
        yield start, min(most, file["bytes"] - start)


def _parsed(data: bytes) -> Any:  # Any: JSON
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ServiceError(
            "the reader on the cluster answered with something that is not JSON; is its dbp another?"
        ) from None


def is_here(storage: str, jobs: Sequence[str]) -> bool:
    """Whether one of these submitted jobs has its directory below `storage` on this machine: a path alone proves nothing."""
    return any(os.path.isfile(Path(storage) / job / "submission.json") for job in jobs)
