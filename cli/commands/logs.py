"""`dbp logs`: what a job printed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from dbp.cli.options import DEFAULT_STORAGE, Insecure, JobName, Json, ServiceAddress, Storage, TokenFile
from dbp.cli.output import Mode, Output, clean, flush_results, talk
from dbp.jobs.directory import JobDirectory

FollowLog = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends; Ctrl-C leaves it running.")]
_POLL_SECONDS = 0.5


def logs(
    job: JobName,
    follow: FollowLog = False,
    storage: Storage = DEFAULT_STORAGE,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Print the log of a job: of a submitted one what its driver printed, of another its log.txt."""
    from dbp.cli.following import detaching
    from dbp.cli.service import Access, find_job

    found = find_job(job, storage, Access(address, token_file, insecure))
    output = Output(json=json)
    printed = 0
    with detaching(found.id):
        lines = found.client.logs(found.id, follow) if found.client else _of_directory(found.local, follow)
        if output.mode is Mode.JSON:
            output.json({"job": found.id, "lines": list(lines)})
            return
        for line in lines:
            output.text(clean(line))
            printed += 1
            if follow:
                flush_results()
    if not printed:
        talk(f"{found.id} has printed nothing yet")


def _of_directory(directory: JobDirectory, follow: bool) -> Iterator[str]:
    from dbp.jobs.view import describe
    from dbp.storage.atomic_files import storage_error
    from dbp.storage.records import open_record

    shown = 0
    while True:
        if directory.mirror is not None:
            directory = JobDirectory.open(directory.place)  # what was read of a URI stays as it was
        alive = follow and describe(directory).is_alive  # asked before the log is read: nothing comes after the end
        directory.fetch(directory.log_file)
        try:
            with open_record(directory.log_file) as file:
                file.seek(shown)
                data = file.read()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise storage_error("be read", directory.log_file, error) from error
        whole = data[: data.rfind(b"\n") + 1] if alive else data
        shown += len(whole)
        yield from whole.decode(errors="replace").splitlines()
        if not alive:
            return
        time.sleep(_POLL_SECONDS)
