"""`dbp submit`: hand a job over to a service."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from dbp.cli.options import (
    Follow,
    Insecure,
    JobFile,
    Json,
    Overrides,
    ServiceAddress,
    Threads,
    TokenFile,
    Workers,
    overrides_of_workers,
)
from dbp.cli.output import Mode, Output, flush_results, talk

Id = Annotated[
    str | None,
    typer.Option("--id", metavar="NAME", help="The job's id; default: its name and the time.", show_default=False),
]
Place = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="FOLDER|URI",
        help="Where the job directory is made. Default: the job's, or the service's.",
        show_default=False,
    ),
]
Queue = Annotated[bool, typer.Option("--queue", help="Wait for nodes, where the cluster is too small.")]


def submit(
    job: JobFile,
    workers: Workers = None,
    threads: Threads = None,
    overrides: Overrides = None,
    job_id: Id = None,
    storage: Place = None,
    queue: Queue = False,
    follow: Follow = False,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Hand a job over to a service and print its id.

    The job runs there, whatever happens to this machine. Tables of at most 100 MB in all travel with it.
    """
    from dbp.cli.service import Access

    client = Access(address, token_file, insecure).client()
    changes = [*(overrides or ()), *overrides_of_workers(workers, threads)]
    name = client.submit(job, job_id=job_id, storage=storage, queue=queue, overrides=changes)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json({"job": name})
    else:
        output.text(name)
    flush_results()  # a script that reads the id need not wait for the end
    if not follow:
        if not json:
            shown = shlex.quote(name)
            talk(f"next:  dbp watch {shown}\n       dbp fetch {shown} -o {shown}")
        return

    from dbp.cli.following import detaching, leave_as
    from dbp.cli.service import Found
    from dbp.cli.watching import watch

    with detaching(name):
        view = watch(Found(name, client, None))
    leave_as(view)
