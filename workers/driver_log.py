"""What a driver says: one line each on standard output, which Ray keeps as the job's log."""

from __future__ import annotations

from contextlib import suppress

from dbp.jobs.wording import printable


def say(text: str) -> None:
    """Print a line at once. A log that cannot be written ends no job."""
    with suppress(OSError, ValueError):
        print(printable(text), flush=True)
