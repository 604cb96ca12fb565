"""Questions about job directories, and their answers as plain JSON or bytes.

The client asks them itself where it can reach the storage; where it cannot, a small job on the cluster does (see `reader.py`): one
set of functions, so that both say the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from dbp.errors import JobDirectoryError, StorageError
from dbp.jobs.directory import JobDirectory, check_job_id, list_job_directories
from dbp.jobs.lease import Owner, claim
from dbp.jobs.lock import hold_lock
from dbp.jobs.submission import read_handover
from dbp.jobs.view import describe, view_to_facts
from dbp.storage.atomic_files import storage_error
from dbp.storage.mirror import read_lines, size_of_lines
from dbp.storage.records import open_record
from dbp.storage.remote import LocalFolder, MissingFileError, open_folder
from dbp.storage.uris import below, is_remote, local_path
from dbp.workers.job_files import FileFacts, list_files, read_file

_READERS = 16  # jobs that are asked about at a time
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
MOST_METRICS_BYTES = 1 << 20


class CheckpointFacts(TypedDict):
    """A checkpoint, checked; `problem` is None for a good one."""

    step: int
    path: str
    bytes: int
    valid: bool
    problem: str | None


class Survey(TypedDict):
    """All that one must know to fetch from a job."""

    view: dict[str, object] | None  # None where there is no directory
    files: list[FileFacts]
    checkpoints: list[CheckpointFacts] | None  # None when not asked for


class Glimpse(TypedDict):
    """A job as it is now, and its metrics since the last glimpse."""

    view: dict[str, object] | None  # None while there is no directory
    metrics: list[dict[str, Any]]  # Any: JSON of a metrics file
    offset: int  # where the next glimpse goes on in the metrics file
    workers: int | None  # how many it should have


def describe_jobs(storage: str, jobs: Sequence[str] | None = None) -> list[dict[str, object]]:
    """Return what is known of these jobs, or of all below `storage` that were submitted; those without a directory are left out."""
    if jobs is None:
        return [each for each in _at_once(_described_if_submitted, list_job_directories(storage)) if each is not None]
    return [each for each in _at_once(lambda job: _described_if_there(storage, job), jobs) if each is not None]


def glimpse(storage: str, job: str, offset: int = 0) -> Glimpse:
    """Return a job as it is now, with the metrics from `offset` on (at most a mebibyte of them, the last where there are more)."""
    directory = _opened(storage, job)
    if directory is None:
        return {"view": None, "metrics": [], "offset": offset, "workers": None}
    lines, offset = _metrics_after(directory, offset)
    return {"view": _described(directory), "metrics": lines, "offset": offset, "workers": _wanted_workers(directory)}


def checkpoints(storage: str, job: str) -> list[CheckpointFacts]:
    """Return a job's checkpoints, each one checked."""
    return checkpoints_of(_existing(storage, job))


def checkpoints_of(directory: JobDirectory) -> list[CheckpointFacts]:
    """Return the checkpoints of a job directory, each one checked."""
    return [
        {
            "step": entry.step,
            "path": entry.uri or str(entry.path),
            "bytes": entry.size,
            "valid": entry.valid,
            "problem": entry.problem,
        }
        for entry in directory.checkpoint_store().listing()
    ]


def survey(storage: str, job: str, checked: bool = False) -> Survey:
    """Return a job, its files, and its checkpoints if they are to be `checked`."""
    described = describe_jobs(storage, [job])
    if not described:
        return {"view": None, "files": [], "checkpoints": None}
    return {
        "view": described[0],
        "files": files(storage, job),
        "checkpoints": checkpoints(storage, job) if checked else None,
    }


def files(storage: str, job: str) -> list[FileFacts]:
    """Return the files of a job directory that can be fetched, by name."""
    return list_files(_existing(storage, job))


def part(storage: str, job: str, name: str, offset: int, length: int) -> bytes:
    """Return `length` bytes of a file from `offset` on; fewer at its end."""
    return read_file(_existing(storage, job), name, offset, length)


def remove(storage: str, job: str) -> bool:
    """Remove a job directory that nobody works on, as far as can be told from here; False when there is none."""
    directory = _opened(storage, job)
    if directory is None:
        place = below(storage if is_remote(storage) else local_path(storage), job)
        if not open_folder(place).names():
            return False
        raise JobDirectoryError(f"{place}: holds no job.yaml; expected a job directory, and nothing else is removed")
    if directory.mirror is not None:
        claim(directory.mirror.remote, Owner())  # refused while a run seems to live
        directory.mirror.remote.clear()
        return True
    with hold_lock(directory.lock_file):
        LocalFolder(directory.path).clear()
    return True


def _opened(storage: str, job: str) -> JobDirectory | None:
    """Return the directory of a job, to be read; None when there is none."""
    check_job_id(job)
    if is_remote(storage):
        try:
            return JobDirectory.open(below(storage, job))
        except JobDirectoryError:
            return None
    directory = JobDirectory(Path(os.path.abspath(local_path(storage))) / job)
    return directory if directory.job_file.is_file() else None


def _existing(storage: str, job: str) -> JobDirectory:
    directory = _opened(storage, job)
    if directory is None:
        raise JobDirectoryError(f"{storage.rstrip('/')}/{job}: no such job directory; did the job start already?")
    return directory


def _at_once(ask: Callable[[Asked], Answer], about: Sequence[Asked]) -> list[Answer]:
    """Ask about several jobs at once: each question is some requests to a store."""
    if len(about) < 2:
        return [ask(each) for each in about]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(ask, about))


def _described_if_there(storage: str, job: str) -> dict[str, object] | None:
    directory = _opened(storage, job)
    return None if directory is None else _described(directory)


def _described_if_submitted(directory: JobDirectory) -> dict[str, object] | None:
    return None if read_handover(directory) is None else _described(directory)


def _described(directory: JobDirectory) -> dict[str, object]:
    handover = read_handover(directory)
    return {**view_to_facts(describe(directory)), "attempt": handover.get("attempt") if handover else None}


def _wanted_workers(directory: JobDirectory) -> int | None:
    from dbp.errors import JobFileError
    from dbp.jobs.job import Job

    directory.fetch(directory.job_file)
    try:
        return Job.from_file(directory.job_file).required_workers
    except (JobFileError, StorageError):
        return None


def _metrics_after(directory: JobDirectory, offset: int) -> tuple[list[dict[str, Any]], int]:
    try:
        start, data = _last_bytes(directory, offset)
    except (FileNotFoundError, MissingFileError):
        return [], 0
    except OSError as error:
        raise storage_error("be read", directory.metrics_file, error) from error
    whole = data[: data.rfind(b"\n") + 1]  # the last line may still be written
    lines = []
    for line in whole.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue  # torn, or cut where this reading starts
        if isinstance(value, dict) and type(value.get("step")) is int:
            lines.append(value)
    return lines, start + len(whole)


def _last_bytes(directory: JobDirectory, offset: int) -> tuple[int, bytes]:
    """Return the metrics from `offset` on, and where they start: later, where they are more than MOST_METRICS_BYTES."""
    if directory.mirror is not None:
        remote, name = directory.mirror.remote, directory.metrics_file.name
        size = size_of_lines(remote, name, remote.names())
        start = max(min(offset, size), size - MOST_METRICS_BYTES)
        return start, read_lines(remote, name, start, MOST_METRICS_BYTES)
    with open_record(directory.metrics_file) as file:
        size = os.fstat(file.fileno()).st_size
        start = max(min(offset, size), size - MOST_METRICS_BYTES)
        file.seek(start)
        return start, file.read(MOST_METRICS_BYTES)
