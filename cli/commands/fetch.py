"""`dbp fetch`: bring a job's model, or one of its checkpoints, to this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, cast

import typer

from dbp.cli.options import DEFAULT_STORAGE, Force, Insecure, JobName, Json, ServiceAddress, Storage, TokenFile
from dbp.cli.output import Mode, Output, clean, talk

Step = Annotated[
    str | None,
    typer.Option(
        "--step",
        metavar="N|best|last",
        help="A checkpoint instead of the model: of step N, the last good one, or the best that is kept.",
        show_default=False,
    ),
]
Target = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FOLDER", help="Where the files go. Default: the job's id.", show_default=False
    ),
]


def fetch(
    job: JobName,
    step: Step = None,
    target: Target = None,
    force: Force = False,
    storage: Storage = DEFAULT_STORAGE,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Fetch a job's model and records, or a checkpoint; every checksum is verified.

    Works where this machine reaches the job's storage, and through the cluster where it does not.
    """
    from dbp.cli.service import Access, find_job, wanted_step
    from dbp.workers.collecting import Collector, Wanted
    from dbp.workers.storages import NearReading

    wanted = cast("Wanted", wanted_step(step))
    found = find_job(job, storage, Access(address, token_file, insecure))
    folder = target or Path(found.id)
    if found.client is not None:
        written = found.client.fetch(found.id, folder, wanted, force=force)
    else:
        from dbp.jobs.view import describe

        near = NearReading(found.local.storage)
        survey = near.survey(found.id, checked=wanted in ("best", "last"))
        written = Collector(describe(found.local), near, survey, folder).fetch(wanted, force)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        files = [{"path": path, "bytes": path.stat().st_size, "sha256": _sha256(path)} for path in written]
        output.json({"job": found.id, "directory": folder, "files": files})
        return
    for path in written:
        output.text(clean(path))
    talk(f"{len(written)} files, every checksum verified")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
