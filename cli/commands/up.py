"""`dbp up`: a service on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dbp.cli.options import DEFAULT_STORAGE, Json
from dbp.cli.output import Mode, Output, talk
from dbp.errors import InputError

Cpus = Annotated[
    int | None,
    typer.Option(
        "--cpus", metavar="N", help="CPUs for workers of all jobs together. Default: all.", show_default=False
    ),
]
JobStorage = Annotated[
    str,
    typer.Option("--storage", metavar="FOLDER|URI", help="Where submitted jobs leave their directories."),
]


def up(cpus: Cpus = None, storage: JobStorage = DEFAULT_STORAGE, json: Json = False) -> None:
    """Start a service on this machine that runs submitted jobs."""
    from dbp.workers.local_service import start

    if cpus is not None and cpus < 1:
        raise InputError(f"--cpus {cpus}: expected 1 or more")
    started = start(cpus, _absolute(storage), talk)
    service = started.service
    output = Output(json=json)
    fields = {
        "address": service.address,
        "storage": service.storage,
        "cpus": service.cpus,
        "token_file": service.token_file,
        "log": service.log,
        "started": service.started,
    }
    if output.mode is Mode.JSON:
        output.json({**fields, "new": started.new})
        return
    if not started.new:
        talk("up already; to change its CPUs or storage: dbp down, then dbp up again")
    output.fields({name.replace("_", " "): value for name, value in fields.items()})
    talk("next: dbp submit job.yaml      (and, when you no longer need it: dbp down)")


def _absolute(storage: str) -> str:
    return storage if "://" in storage else str(Path(storage).expanduser().absolute())
