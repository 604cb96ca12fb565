"""A job as it is shown: what its directory says, and, where a service runs it, what the service says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dbp.errors import JobDirectoryError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.status import Status, describe_state, read_status


@dataclass(frozen=True)
class JobView:
    """What is known about a job.

    `state` is one of the status file's, LOST (its process is gone) or UNKNOWN (no usable file). `service` is the address of the
    service that the job belongs to; None for a job of this machine alone.
    """

    job: str
    directory: Path | str  # a URI is a str
    state: str
    message: str
    status: Status | None
    service: str | None = None

    @property
    def progress(self) -> str | None:
        """Steps done of steps to do; of a job of several runs, the runs."""
        if self.status and self.status.runs:
            return f"{self.status.runs.done}/{self.status.runs.count} runs"
        return f"{self.status.step}/{self.status.max_steps}" if self.status else None

    @property
    def step(self) -> int | None:
        """The last step that was done, where that is known."""
        return self.status.step if self.status else None

    @property
    def loss(self) -> float | None:
        """The last loss, where there is one."""
        return self.status.loss if self.status else None

    @property
    def workers(self) -> str | None:
        """How many workers there are, in words."""
        return self.status.workers_in_words if self.status else None

    @property
    def started(self) -> str | None:
        """When the last attempt began, in UTC."""
        return self.status.started if self.status else None

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or will."""
        return self.state in ("PENDING", "RUNNING")

    def to_json(self) -> dict[str, object]:
        """Return the job for `--json`: its identity first, then all that its status file says."""
        facts = self.status.to_json() if self.status else {"step": None, "loss": None}
        own = {
            "job": self.job,
            "state": self.state,
            "step": facts["step"],
            "loss": facts["loss"],
            "message": self.message,
        }
        rest = {key: value for key, value in facts.items() if key not in own}
        return {**own, "directory": self.directory, "service": self.service, **rest}


def describe(directory: JobDirectory) -> JobView:
    """Return what is known about the job; a damaged status file is told as its message, so that the others can be listed."""
    directory.fetch(directory.status_file)
    try:
        status = read_status(directory.status_file)
    except JobDirectoryError as error:
        return JobView(directory.id, directory.place, "UNKNOWN", str(error), None)
    if status is None:
        return JobView(
            directory.id, directory.place, "UNKNOWN", "no status file; the run ended while it was being made", None
        )
    shown = describe_state(status)
    return JobView(directory.id, directory.place, shown.state, shown.message, status)


@cache
def _status_reader() -> TypeAdapter[Status]:
    return TypeAdapter(Status)


def view_to_facts(view: JobView) -> dict[str, object]:
    """Return the view as plain JSON, for `view_from_facts` on another machine."""
    return {
        "job": view.job,
        "directory": str(view.directory),
        "state": view.state,
        "message": view.message,
        "status": view.status.to_json() if view.status else None,
    }


def view_from_facts(facts: Mapping[str, object]) -> JobView:
    """Return the view that another machine described. ValueError when that is no description."""
    job, directory, state, message = (facts.get(key) for key in ("job", "directory", "state", "message"))
    if not (
        isinstance(job, str) and isinstance(directory, str) and isinstance(state, str) and isinstance(message, str)
    ):
        raise ValueError("no description of a job")
    status = facts.get("status")
    try:
        parsed = None if status is None else _status_reader().validate_python(status)
    except ValidationError as error:
        raise ValueError(f"no status of a job: {error.errors(include_url=False)[0]['msg']}") from None
    return JobView(job, directory, state, message, parsed)
