"""`dbp cancel`: stop a submitted job; it writes a checkpoint first."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from dbp.cli.options import DEFAULT_STORAGE, Insecure, JobName, Json, ServiceAddress, Storage, TokenFile
from dbp.cli.output import Mode, Output, talk
from dbp.errors import InputError, JobDirectoryError
from dbp.jobs.view import JobView, describe

NoWait = Annotated[bool, typer.Option("--no-wait", help="Ask it to stop and return at once.")]


def cancel(
    job: JobName,
    no_wait: NoWait = False,
    storage: Storage = DEFAULT_STORAGE,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Stop a job after its step, with a checkpoint from which `dbp resume` goes on.

    Waits until it has stopped; a job that has ended stays as it is.
    """
    from dbp.cli.service import Access, find_job

    found = find_job(job, storage, Access(address, token_file, insecure))
    output = Output(json=json)
    if found.client is None:
        _report(_ended_here(describe(found.local)), output, already=True)
        return
    before = found.client.cancel(found.id)
    if not before.is_alive:
        _report(before, output, already=True)
        return
    if no_wait:
        talk("asked to stop; it ends after its step, with a checkpoint")
        _report(before, output, already=False)
        return
    talk("stopping after its step, with a checkpoint ...")
    try:
        view = found.client.wait(found.id)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"{found.id} was asked to stop and will; see: dbp status {shlex.quote(found.id)}")
        raise
    _report(view, output, already=False)


def _ended_here(view: JobView) -> JobView:
    """Return a job of this machine that has ended. JobDirectoryError for one that runs: it is not a service's to stop."""
    if not view.is_alive:
        return view
    status = view.status
    if status is None:
        raise InputError(f"{view.job}: is being started")
    raise JobDirectoryError(
        f"{view.job}: was not submitted; it is run by process {status.pid} on {status.host}. To stop it there, after a checkpoint: "
        f"Ctrl-C, or kill {status.pid}"
    )


def _report(view: JobView, output: Output, *, already: bool) -> None:
    if output.mode is Mode.JSON:
        output.json(view.to_json())
        return
    output.text(f"{view.job}: {'already ' if already else ''}{view.state}: {view.message}")
    if view.state == "STOPPED" and not already:
        talk(f"to go on: dbp resume {shlex.quote(view.job)}")
