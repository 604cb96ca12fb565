"""`dbp run`: train a job in the foreground."""

from __future__ import annotations

import json as json_text
from typing import Annotated

import typer

from dbp.cli.foreground import run_in_foreground
from dbp.cli.options import Address, JobFile, Json, Logs, Overrides, Quiet, Threads, Workers, overrides_of_workers

Id = Annotated[
    str | None,
    typer.Option("--id", metavar="NAME", help="The job's id; default: its name and the time.", show_default=False),
]
StorageOverride = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="FOLDER",
        help="Where the job directory is made; a URI too. Default: the job's.",
        show_default=False,
    ),
]


def run(
    job: JobFile,
    workers: Workers = None,
    threads: Threads = None,
    overrides: Overrides = None,
    job_id: Id = None,
    storage: StorageOverride = None,
    address: Address = None,
    log: Logs = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a job in the foreground.

    Ctrl-C stops it after a checkpoint; a second Ctrl-C stops it at once.
    """
    from dbp.jobs.job import Job

    # Options are overrides too: then their mistakes are reported with all others.
    changes = [*(overrides or ()), *overrides_of_workers(workers, threads)]
    if storage is not None:
        changes.append(f"storage={json_text.dumps(storage, ensure_ascii=False)}")
    loaded = Job.from_file(job, changes)

    from dbp.loggers.specification import open_logger

    loggers = [open_logger(text, loaded.name) for text in log or ()]

    from dbp.workers.train import train

    run_in_foreground(
        lambda observer, stop: train(
            loaded, observer=observer, job_id=job_id, address=address, stop=stop, callbacks=loggers
        ),
        json=json,
        quiet=quiet,
    )
