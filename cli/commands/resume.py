"""`dbp resume`: go on with a job that was interrupted, from its newest good checkpoint."""

from __future__ import annotations

from dbp.cli.foreground import run_in_foreground
from dbp.cli.jobs import finished
from dbp.cli.options import DEFAULT_STORAGE, Address, JobName, Json, Overrides, Quiet, Storage, Workers
from dbp.cli.output import Mode, Output, talk


def resume(
    job: JobName,
    workers: Workers = None,
    overrides: Overrides = None,
    storage: Storage = DEFAULT_STORAGE,
    address: Address = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on with an interrupted job, to the same bits as if it had never stopped.

    --set training.max_steps=N, or other `stopping` rules, go on with a finished job; nothing that would change a step can be set.
    """
    from dbp.jobs.directory import JobDirectory
    from dbp.jobs.job import Job

    directory = JobDirectory.find(job, storage)
    changes = list(overrides or ())
    if workers is not None:
        changes.append(f"workers={workers}")
    directory.fetch(directory.job_file)
    wanted = Job.from_file(directory.job_file, changes)
    done = finished(directory, wanted)
    if done is not None:
        rule = done["rule"]
        more = {"max_steps": "For more steps: --set training.max_steps=N", "optimizer": "There is nothing left to do"}
        advice = more.get(str(rule), f"To go on: --set stopping.{rule}=null, or another value")
        talk(f"{directory.id} is done already: {done['reason']}. {advice}")
        output = Output(json=json)
        if output.mode is Mode.JSON:
            output.json(done)
        return

    from dbp.workers.train import resume as go_on

    run_in_foreground(
        lambda observer, stop: go_on(directory.place, overrides=changes, observer=observer, address=address, stop=stop),
        json=json,
        quiet=quiet,
    )
