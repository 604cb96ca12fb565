"""Reading job directories of a service: directly where this machine reaches them, through the cluster where it does not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from dbp.errors import ServiceError, StorageError
from dbp.jobs.submission import SUBMISSION_FILE
from dbp.storage.remote import BRIEF, open_folder
from dbp.storage.uris import is_remote
from dbp.workers import reading
from dbp.workers.cluster_reading import PART_BYTES, ClusterReading
from dbp.workers.job_files import FileFacts
from dbp.workers.reading import CheckpointFacts, Glimpse, Survey

_NEAR_PART_BYTES = 64 << 20
_RECORD_SLACK = 1 << 20  # by how much a record may have grown
_MOST_PARTS = 300  # a question must fit into one environment variable


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

    def survey(self, job: str, checked: bool = False) -> Survey:
        """See `reading`."""
        ...

    def contents(self, job: str, files: Sequence[FileFacts]) -> Iterator[tuple[FileFacts, bytes]]:
        """Yield files in parts, one after the other; an empty file is one empty part."""
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

    def survey(self, job: str, checked: bool = False) -> Survey:
        """See `reading`."""
        return reading.survey(self._storage, job, checked)

    def contents(self, job: str, files: Sequence[FileFacts]) -> Iterator[tuple[FileFacts, bytes]]:
        """See `Reading`."""
        for part in _parts(files, _NEAR_PART_BYTES):
            yield part.file, reading.part(self._storage, job, part.file["name"], part.start, part.length)

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

    def survey(self, job: str, checked: bool = False) -> Survey:
        """See `reading`."""
        return cast("Survey", self._json("survey", job=job, checked=checked))

    def contents(self, job: str, files: Sequence[FileFacts]) -> Iterator[tuple[FileFacts, bytes]]:
        """See `Reading`. As many parts in one job as its log can take."""
        for batch in _batches(_parts(files, PART_BYTES)):
            wanted = [[part.file["name"], part.start, part.length] for part in batch]
            found = self._cluster.ask_all("parts", len(batch), storage=self._storage, job=job, parts=wanted)
            yield from zip((part.file for part in batch), found, strict=True)

    def remove(self, job: str) -> bool:
        """See `reading`."""
        return bool(self._json("remove", job=job))

    def _json(self, question: str, **arguments: object) -> Any:  # Any: JSON
        return _parsed(self._cluster.ask(question, storage=self._storage, **arguments))


class _Part(NamedTuple):
    file: FileFacts
    start: int
    length: int


def _parts(files: Sequence[FileFacts], most: int) -> Iterator[_Part]:
    """Cut files into parts; a small file of records may be replaced meanwhile, and is read whole, whatever its size is then."""
    for file in files:
        size = file["bytes"]
        if file["name"].endswith((".json", ".yaml")):
            yield _Part(file, 0, min(most, size + _RECORD_SLACK))
            continue
        for start in range(0, max(size, 1), most):
            yield _Part(file, start, min(most, size - start))


def _batches(parts: Iterator[_Part]) -> Iterator[list[_Part]]:
    batch: list[_Part] = []
    for part in parts:
        if batch and (len(batch) >= _MOST_PARTS or sum(each.length for each in batch) + part.length > PART_BYTES):
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


def _parsed(data: bytes) -> Any:  # Any: JSON
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ServiceError(
            "the reader on the cluster answered with something that is not JSON; is its dbp another?"
        ) from None


class Reach:
    """Knows which storages this machine reaches. What it found out of a URI it keeps: asking a store that is away takes seconds.

    `same_machine`: the service is on this machine, and so are its folders.
    """

    def __init__(self, same_machine: bool) -> None:
        self._same_machine = same_machine
        self._known: dict[str, bool] = {}

    def is_near(self, storage: str, jobs: Sequence[str]) -> bool:
        """Whether the directories of these submitted jobs are read from here.

        A path alone proves nothing, and the name of a bucket neither: one of the jobs must be there.
        """
        if not is_remote(storage):
            return self._same_machine or any(os.path.isfile(Path(storage) / job / SUBMISSION_FILE) for job in jobs)
        if storage in self._known:
            return self._known[storage]
        try:
            found = self._finds(storage, jobs)
        except StorageError:
            self._known[storage] = False
            return False
        if found:
            self._known[storage] = True
        return found

    def _finds(self, storage: str, jobs: Sequence[str]) -> bool:
        folder = open_folder(storage, BRIEF)
        there = set(folder.names())
        here = [job for job in jobs if job in there]
        if any(folder.child(job).exists(SUBMISSION_FILE) for job in here):
            return True
        return self._same_machine and not here and not jobs
