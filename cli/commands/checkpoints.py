"""`dbp checkpoints`: the checkpoints of a job, each one checked."""

from __future__ import annotations

from dbp.cli.options import DEFAULT_STORAGE, JobName, Json, Storage
from dbp.cli.output import Mode, Output, talk


def checkpoints(job: JobName, storage: Storage = DEFAULT_STORAGE, json: Json = False) -> None:
    """List the checkpoints of a job and check each one."""
    from dbp.jobs.directory import JobDirectory

    directory = JobDirectory.find(job, storage)
    entries = directory.checkpoint_store().listing()
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json(
            [
                {
                    "step": entry.step,
                    "path": entry.uri or entry.path,
                    "bytes": entry.size,
                    "valid": entry.valid,
                    "problem": entry.problem,
                }
                for entry in entries
            ]
        )
    elif not entries:
        talk(f"{directory.id} has no checkpoint yet")
    else:
        rows = [(entry.step, entry.size, entry.problem or "valid", entry.path.name) for entry in entries]
        output.rows(("STEP", "BYTES", "STATE", "FILE"), rows)
