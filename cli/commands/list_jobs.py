"""`dbp list`: the jobs of a storage folder."""

from __future__ import annotations

from pathlib import Path

from dbp.cli.options import DEFAULT_STORAGE, Json, Storage
from dbp.cli.output import Mode, Output, talk
from dbp.jobs.view import describe


def list_jobs(storage: Storage = DEFAULT_STORAGE, json: Json = False) -> None:
    """List the jobs of a storage folder, with state, step and loss."""
    from dbp.jobs.directory import list_job_directories

    jobs = [describe(directory) for directory in list_job_directories(Path(storage))]
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json([job.to_json() for job in jobs])
    elif not jobs:
        talk(f"no jobs in {storage}; `dbp run JOB` makes one there, --storage names another folder")
    else:
        rows = [(job.job, job.state, job.progress, job.loss, job.started, job.message) for job in jobs]
        output.rows(("JOB", "STATE", "STEP", "LOSS", "STARTED", "MESSAGE"), rows)
