"""`dbp report`: a job as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dbp.cli.options import DEFAULT_STORAGE, Insecure, JobName, Json, ServiceAddress, Storage, TokenFile
from dbp.cli.output import Mode, Output, talk
from dbp.cli.service import Access, directory_to_read
from dbp.errors import InputError

Page = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The page. Default: report.html in the job directory.",
        show_default=False,
    ),
]
Rows = Annotated[
    int,
    typer.Option("--rows", metavar="N", min=1, help="Training rows over which error signals are measured, at most."),
]


def report(
    job: JobName,
    output: Page = None,
    rows: Rows = 2000,
    storage: Storage = DEFAULT_STORAGE,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Write a job's report: curves, the network, the error signal in it, data, validation, checksums, on one page.

    The page loads nothing from anywhere. Running and failed jobs, too; what cannot be had is said on the page.
    """
    directory = directory_to_read(job, storage, Access(address, token_file, insecure))
    if output is None and directory.mirror is not None:
        raise InputError(f"{directory.place}: is not on this machine; say where the page goes with -o FILE.html")

    from dbp.reports.page import page
    from dbp.storage.atomic_files import write_text
    from dbp.workers.report import gather

    facts = gather(directory, rows)
    file = output or directory.path / "report.html"
    write_text(file, page(facts))
    for note in dict.fromkeys(facts.notes.values()):
        talk(f"note: {note}")
    shown = Output(json=json)
    if shown.mode is Mode.JSON:
        shown.json({"job": facts.view.job, "report": file, "notes": dict(facts.notes)})
    else:
        shown.text(str(file))
