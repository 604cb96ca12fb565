"""The status of a job: one small JSON file, replaced as a whole whenever something changes."""

from __future__ import annotations

import dataclasses
import math
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError

from dbp.errors import JobDirectoryError
from dbp.jobs.processes import is_gone
from dbp.storage.atomic_files import storage_error, write_json
from dbp.storage.records import open_record

if TYPE_CHECKING:
    from dbp.jobs.job import Job

State: TypeAlias = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"]
_MAX_BYTES = 1_000_000
HEARTBEAT_LOST_S = (
    30.0  # a heart that beats every few seconds and has not for so long has stopped, or its host's clock is wrong
)


@dataclass(frozen=True)
class Runs:
    """How far a job has come that stands for several runs."""

    done: int
    count: int
    best: int | None = None  # the number of the best so far


@dataclass(frozen=True)
class WorkersRange:
    """How few workers a job begins with, and how many it takes where there is room."""

    min: int
    max: int

    @classmethod
    def of(cls, job: Job | None) -> WorkersRange | None:
        """Return the range that a job file gives; None where it gives one number."""
        return cls(job.required_workers, job.most_workers) if job is not None and job.is_elastic else None


@dataclass(frozen=True)
class Status:
    """Where a job stands. Times are UTC, ISO 8601, as `dbp.jobs.clock.utc_now` gives them."""

    job: str  # the job's id
    state: State
    step: int
    max_steps: int
    loss: float | None  # None before the first step, and when it is not finite
    message: str  # one line for people
    attempt: int  # 1 for the first run, one more with each resume
    heartbeat: str  # when the process last said that it lives
    pid: int
    host: str
    started: str  # when this attempt started
    workers: int
    rule: str | None = None  # which rule ended it, for programs; None while it runs, and when it failed
    model_step: int | None = None  # the step that the model file's parameters are from
    runs: Runs | None = None  # of a job of several runs; step, max_steps and loss are of the run under way, or the best
    workers_range: WorkersRange | None = None  # of a job whose workers come and go

    def to_json(self) -> dict[str, Any]:
        """Return what the file holds; `runs` and `workers_range` only where there are some."""
        facts = dataclasses.asdict(self)
        for name in ("runs", "workers_range"):
            if facts[name] is None:
                del facts[name]
        return facts

    @property
    def workers_in_words(self) -> str:
        """How many workers there are, and how few and how many there may be: ``3``, ``3 (2 to 16)``."""
        wanted = self.workers_range
        return f"{self.workers}" if wanted is None else f"{self.workers} ({wanted.min} to {wanted.max})"


@dataclass(frozen=True)
class Described:
    """A status in words. `state` is the status's, or LOST when its process is gone or its heart has stopped."""

    state: State | Literal["LOST"]
    message: str


@cache
def _adapter() -> TypeAdapter[Status]:
    return TypeAdapter(Status)


def write_status(path: Path, status: Status) -> None:
    """Replace the status file; a loss that is not finite becomes null (JSON has no NaN). StorageError if it fails."""
    if status.loss is not None and not math.isfinite(status.loss):
        status = dataclasses.replace(status, loss=None)
    write_json(path, status.to_json())


def read_status(path: Path) -> Status | None:
    """Return the status, or None when there is no file yet. JobDirectoryError when the file is not a status."""
    try:
        with open_record(path) as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error("be read", path, error) from error
    try:
        if len(data) > _MAX_BYTES:
            raise ValueError("too large")
        return _adapter().validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(key) for key in first["loc"])
        raise JobDirectoryError(
            f"{path}: not a status file of dbp, or damaged: {place or 'JSON'}: {first['msg']}"
        ) from None
    except ValueError:
        raise JobDirectoryError(f"{path}: not a status file of dbp: larger than {_MAX_BYTES:,} bytes") from None


def describe_state(status: Status) -> Described:
    """Return state and message. A job under way is LOST when its process on this host is gone, or its heart on another stopped."""
    if status.state not in ("PENDING", "RUNNING"):
        return Described(status.state, status.message)
    if status.host == socket.gethostname():
        if not is_gone(status.pid, status.heartbeat):
            return Described(status.state, status.message)
        how = "stopped unexpectedly"
    else:
        silent = (datetime.now(UTC) - datetime.fromisoformat(status.heartbeat)).total_seconds()
        if silent <= HEARTBEAT_LOST_S:
            return Described(status.state, status.message)
        how = f"nothing was heard of it for {_duration(silent)} (host {status.host}); it stopped"
    where = f"step {status.step}" if status.runs is None else f"{status.runs.done} of {status.runs.count} runs"
    return Described("LOST", f"{how} after {where}; continue with `dbp resume {status.job}`")


def next_attempt(status: Status | None) -> int:
    """Return the number of the attempt that begins now; one that waits already has its number."""
    if status is None:
        return 1
    return status.attempt + (status.state != "PENDING")


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
