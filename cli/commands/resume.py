"""`dbp resume`: go on with a job that was interrupted, from its newest good checkpoint."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from dbp.cli.foreground import run_in_foreground
from dbp.cli.jobs import finished
from dbp.cli.options import (
    DEFAULT_STORAGE,
    Follow,
    Insecure,
    JobName,
    Json,
    Logs,
    Overrides,
    Quiet,
    Storage,
    Threads,
    TokenFile,
    Workers,
    overrides_of_workers,
)
from dbp.cli.output import Mode, Output, flush_results, talk
from dbp.cli.service import Access, Found, find_job, submitted_from
from dbp.errors import InputError, JobDirectoryError
from dbp.jobs.directory import JobDirectory

Here = Annotated[bool, typer.Option("--here", help="Train in this process, also where a service ran the job before.")]
EitherAddress = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="The service of a submitted job; of a job of this machine, a Ray cluster to use for its workers.",
        show_default=False,
    ),
]


def resume(
    job: JobName,
    workers: Workers = None,
    threads: Threads = None,
    overrides: Overrides = None,
    storage: Storage = DEFAULT_STORAGE,
    here: Here = False,
    follow: Follow = False,
    address: EitherAddress = None,
    log: Logs = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on with an interrupted job, to the same bits as if it had never stopped.

    A submitted job goes on on its service, any other in this process. --set training.max_steps=N, or other `stopping` rules, go on
    with a finished job; nothing that would change a step can be set.
    """
    changes = [*(overrides or ()), *overrides_of_workers(workers, threads)]
    directory = _directory_here(job, storage)
    if here or (directory is not None and submitted_from(directory) is None):
        own = directory or JobDirectory.find(job, storage)
        _resume_here(own, changes, address, log or [], json=json, quiet=quiet)
        return
    if log:
        raise InputError("--log: a job that a service runs has no loggers of this machine; expected --here, or none")
    found = find_job(job, storage, Access(address, token_file, insecure))
    if found.client is None:
        raise JobDirectoryError(
            f"{found.id}: was submitted to {submitted_from(found.local) or 'a service'}, which is not there; expected one that "
            "knows it (`dbp up`, --address). To go on in this process: --here"
        )
    _resume_there(found, changes, follow, Output(json=json))


def _directory_here(job: str, storage: str) -> JobDirectory | None:
    try:
        return JobDirectory.find(job, storage)
    except JobDirectoryError:
        return None


def _resume_there(found: Found, changes: list[str], follow: bool, output: Output) -> None:
    client = found.client
    assert client is not None
    view = client.status(found.id)
    if view.state == "SUCCEEDED" and not changes:
        talk(f"{view.job} is done already: {view.message}. For more steps: --set training.max_steps=N")
        if output.mode is Mode.JSON:
            output.json(view.to_json())
        return
    name = client.resume(found.id, changes)
    if output.mode is Mode.JSON:
        output.json({"job": name})
    else:
        output.text(name)
    flush_results()
    shown = shlex.quote(name)
    if not follow:
        talk(f"goes on at {client.address}; to look at it: dbp watch {shown}")
        return

    from dbp.cli.following import detaching, leave_as
    from dbp.cli.watching import watch

    with detaching(name):
        view = watch(found)
    leave_as(view)


def _resume_here(
    directory: JobDirectory, changes: list[str], address: str | None, logs: list[str], *, json: bool, quiet: bool
) -> None:
    from dbp.jobs.job import Job

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

    from dbp.loggers.specification import open_logger

    loggers = [open_logger(text, wanted.name) for text in logs]

    from dbp.workers.train import resume as go_on

    run_in_foreground(
        lambda observer, stop: go_on(
            directory.place, overrides=changes, observer=observer, address=address, stop=stop, callbacks=loggers
        ),
        json=json,
        quiet=quiet,
    )
