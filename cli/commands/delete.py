"""`dbp delete`: remove a job, its checkpoints and its model."""

from __future__ import annotations

import sys

from dbp.cli.options import DEFAULT_STORAGE, Insecure, JobNames, Json, ServiceAddress, Storage, TokenFile, Yes
from dbp.cli.output import Mode, Output, clean, talk
from dbp.cli.service import Access, Found, find_job
from dbp.errors import InputError, JobDirectoryError
from dbp.jobs.view import JobView


def delete(
    jobs: JobNames,
    yes: Yes = False,
    storage: Storage = DEFAULT_STORAGE,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Remove jobs that have ended, with all their files. It cannot be undone."""
    access = Access(address, token_file, insecure)
    found = [find_job(job, storage, access) for job in dict.fromkeys(jobs)]
    views = [_ended(each) for each in found]
    if not yes:
        _ask(views)
    deleted = []
    output = Output(json=json)
    for each in found:
        _delete(each)
        deleted.append(each.id)
        if output.mode is not Mode.JSON:
            output.text(f"deleted {clean(each.id)}")
    if output.mode is Mode.JSON:
        output.json({"deleted": deleted})


def _ended(found: Found) -> JobView:
    from dbp.jobs.view import describe

    view = found.client.status(found.id) if found.client else describe(found.local)
    if view.is_alive:
        stop = f"dbp cancel {view.job}" if found.client else "Ctrl-C where it runs"
        raise JobDirectoryError(f"{view.job}: is {view.state}; expected a job that has ended. Stop it first: {stop}")
    return view


def _ask(views: list[JobView]) -> None:
    for view in views:
        talk(f"{view.job}  {view.state}  {view.progress or '-'}  {view.directory}")
    if not sys.stdin.isatty():
        raise InputError("delete: nobody can be asked here; expected --yes")
    talk(f"delete {'this job' if len(views) == 1 else f'these {len(views)} jobs'}, with checkpoints and model? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError("nothing was deleted")


def _delete(found: Found) -> None:
    if found.client is not None:
        found.client.delete(found.id)
        return
    from dbp.workers.reading import remove

    remove(found.local.storage, found.local.id)
