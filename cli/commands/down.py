"""`dbp down`: stop the service of this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from dbp.cli.options import Json
from dbp.cli.output import Mode, Output, talk

Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", min=0, help="How long running jobs may take to write a checkpoint."),
]


def down(wait: Wait = 20.0, json: Json = False) -> None:
    """Stop the service that `dbp up` started, and nothing else."""
    from dbp.workers.local_service import stop

    stopped = stop(talk, wait)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json(
            {
                "was_up": stopped.was_up,
                "address": stopped.service.address if stopped.service is not None else None,
                "stopped_jobs": [job.job for job in stopped.ended],
                "cut_jobs": [job.job for job in stopped.cut],
            }
        )
    elif stopped.service is None:
        output.text("no local service is up")
    elif not stopped.was_up:
        output.text("no local service is up; cleared up what the last one left")
    else:
        output.text(f"stopped the local service ({stopped.service.address})")
    for job in stopped.cut:
        talk(f"cut off: {job.job} did not end in {wait:.0f} s; it goes on from its last checkpoint")
    unfinished = [job.job for job in (*stopped.ended, *stopped.cut) if job.status != "SUCCEEDED"]
    if unfinished:
        talk("to go on: dbp up, then " + "; ".join(f"dbp resume {job}" for job in unfinished))
