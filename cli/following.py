"""What it means to look at a job that goes on elsewhere: Ctrl-C leaves, the job stays; the exit code says how it ended."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from dbp.cli.errors import FAILED, INTERRUPTED
from dbp.cli.output import talk
from dbp.jobs.view import JobView


@contextmanager
def detaching(job: str) -> Iterator[None]:
    """Turn Ctrl-C into a word about how to go on, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        name = shlex.quote(job)
        talk(f"\ndetached; {job} goes on. To look at it: dbp watch {name}, to end it: dbp cancel {name}")
        raise SystemExit(INTERRUPTED) from None


def leave_as(view: JobView) -> None:
    """End with the exit code of a job's end: 1 when it failed or was lost, 130 when it was stopped."""
    name = shlex.quote(view.job)
    if view.state == "STOPPED":
        talk(f"to go on: dbp resume {name}")
        raise SystemExit(INTERRUPTED)
    if view.state != "SUCCEEDED":
        talk(f"see: dbp logs {name}; to go on: dbp resume {name}")
        raise SystemExit(FAILED)
