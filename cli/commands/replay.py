"""`dbp replay`: recompute a step of a job, and compare the bits."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated

from typer import Option

from dbp.cli.errors import FAILED, answer
from dbp.cli.options import DEFAULT_STORAGE, JobName, Json, Quiet, Storage
from dbp.cli.output import Mode, Output, talk
from dbp.cli.progress import Warnings
from dbp.cli.service import Access, directory_to_read

Step = Annotated[int, Option("--step", metavar="N", min=1, help="Recompute up to this step.", show_default=False)]
From = Annotated[
    int | None,
    Option(
        "--from",
        metavar="STEP",
        min=0,
        help="Begin at the checkpoint of this step; 0: at the job's start. Default: the newest before N.",
        show_default=False,
    ),
]
ReplayWorkers = Annotated[
    int, Option("--workers", metavar="N", min=0, help="Worker processes; 0: none but this one. Changes no bit.")
]
Cluster = Annotated[
    str | None,
    Option("--address", metavar="ADDRESS", help="A running Ray cluster for the workers.", show_default=False),
]


_MOST_SHOWN = 20


class _Talk(Warnings):
    """Says what takes a while, too."""

    def stage(self, text: str) -> None:
        """See `Observer`."""
        talk(f"{text} ...")


def replay(
    job: JobName,
    step: Step,
    start: From = None,
    workers: ReplayWorkers = 0,
    storage: Storage = DEFAULT_STORAGE,
    address: Cluster = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Recompute a step from the checkpoint before it and compare the bits with the records. Writes nothing.

    Exit code 1 when the bits of any step differ.
    """
    from dbp.workers import replay as replaying

    directory = directory_to_read(job, storage, Access())
    observer = Warnings() if quiet else _Talk()
    with redirect_stdout(sys.stderr):  # what a library prints meanwhile is talk
        found = replaying.replay(directory, step, start=start, workers=workers, address=address, observer=observer)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json(found.to_json())
    else:
        shown = found.different[:_MOST_SHOWN]
        if shown:
            rows = [(each.step, each.by, _exact(each.recorded), _exact(each.recomputed)) for each in shown]
            output.rows(("STEP", "BY", "RECORDED", "RECOMPUTED"), rows)
        output.text(found.verdict())
    if found.different:
        answer(FAILED)


def _exact(value: str | float | None) -> str | None:
    return repr(value) if isinstance(value, float) else value
