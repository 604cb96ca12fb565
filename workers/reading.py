"""Questions about job directories, and their answers as plain JSON or bytes.

The client asks them itself where it can reach the storage; where it cannot, a small job on the cluster does (see `reader.py`): one
set of functions, so that both say the same.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from dbp.errors import JobDirectoryError, StorageError
from dbp.jobs.directory import JobDirectory, check_job_id, list_job_directories
from dbp.jobs.lock import hold_lock
from dbp.jobs.submission import SUBMISSION_FILE
from dbp.jobs.view import describe, view_to_facts
from dbp.jobs.wording import show
from dbp.storage.atomic_files import storage_error

# The files of a job directory that a person may fetch, by their paths below it; nothing else is read or written by these names.
_RECORD = r"(?:job\.yaml|status\.json|metrics\.jsonl|environment\.json|log\.txt|sweep\.json)"
_NAME = re.compile(
    rf"(?:members/[0-9]{{3,6}}/)?(?:{_RECORD}|model\.safetensors|checkpoints/step-[0-9]{{8,18}}\.safetensors)"
)
MOST_METRICS_BYTES = 1 << 20


class FileFacts(TypedDict):
    """A file of a job directory."""

    name: str
    bytes: int


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


def check_name(name: str) -> str:
    """Return the path of a fetched file below a job directory. JobDirectoryError when it is none of those a job has."""
    if not _NAME.fullmatch(name):
        raise JobDirectoryError(f"{show(name)}: not a file of a job directory")
    return name


def describe_jobs(storage: str, jobs: Sequence[str] | None = None) -> list[dict[str, object]]:
    """Return what is known of these jobs, or of all below `storage` that were submitted; those without a directory are left out."""
    if jobs is None:
        found = [each for each in list_job_directories(Path(storage)) if _submission(each) is not None]
    else:
        found = [each for job in jobs if (each := _directory(storage, job)).job_file.is_file()]
    return [_described(directory) for directory in found]


def glimpse(storage: str, job: str, offset: int = 0) -> Glimpse:
    """Return a job as it is now, with the metrics from `offset` on (at most a mebibyte of them, the last where there are more)."""
    directory = _directory(storage, job)
    if not directory.job_file.is_file():
        return {"view": None, "metrics": [], "offset": offset, "workers": None}
    lines, offset = _metrics_after(directory.metrics_file, offset)
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
    home = _existing(storage, job).path
    found: list[FileFacts] = []
    for folder, folders, names in os.walk(home):
        folders.sort()
        for name in sorted(names):
            relative = os.path.relpath(os.path.join(folder, name), home)
            facts = os.lstat(os.path.join(folder, name))
            if _NAME.fullmatch(relative) and stat.S_ISREG(facts.st_mode):
                found.append({"name": relative, "bytes": facts.st_size})
    return found


def part(storage: str, job: str, name: str, offset: int, length: int) -> bytes:
    """Return `length` bytes of a file from `offset` on; fewer at its end."""
    path = _existing(storage, job).path / check_name(name)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, "rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise storage_error("be read", path, error) from error


def remove(storage: str, job: str) -> bool:
    """Remove a job directory that no process on this machine works on; False when there is none."""
    directory = _directory(storage, job)
    if not directory.path.is_dir():
        return False
    if not directory.job_file.is_file():
        raise JobDirectoryError(
            f"{directory.path}: holds no job.yaml; expected a job directory, and nothing else is removed"
        )
    with hold_lock(directory.lock_file):
        try:
            shutil.rmtree(directory.path)
        except OSError as error:
            raise storage_error("be removed", directory.path, error) from error
    return True


def _directory(storage: str, job: str) -> JobDirectory:
    check_job_id(job)
    return JobDirectory(Path(os.path.abspath(storage)) / job)


def _existing(storage: str, job: str) -> JobDirectory:
    directory = _directory(storage, job)
    if not directory.job_file.is_file():
        raise JobDirectoryError(f"{directory.path}: no such job directory; did the job start already?")
    return directory


def _described(directory: JobDirectory) -> dict[str, object]:
    submission = _submission(directory)
    return {**view_to_facts(describe(directory)), "attempt": None if submission is None else submission.get("attempt")}


def _submission(directory: JobDirectory) -> Mapping[str, object] | None:
    """Return where the job was handed over; None for one that no service runs."""
    try:
        with open(directory.path / SUBMISSION_FILE, "rb") as file:
            value = json.loads(file.read(1 << 20))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _wanted_workers(directory: JobDirectory) -> int | None:
    from dbp.errors import JobFileError
    from dbp.jobs.job import Job

    try:
        return Job.from_file(directory.job_file).workers
    except (JobFileError, StorageError):
        return None


def _metrics_after(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = max(min(offset, size), size - MOST_METRICS_BYTES)
            file.seek(start)
            data = file.read(MOST_METRICS_BYTES)
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise storage_error("be read", path, error) from error
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
