"""`dbp list`: the jobs of a storage folder, and those of the service."""

from __future__ import annotations

from dbp.cli.options import DEFAULT_STORAGE, Insecure, Json, ServiceAddress, Storage, TokenFile
from dbp.cli.output import Mode, Output, talk
from dbp.cli.service import Access
from dbp.errors import ServiceError
from dbp.jobs.view import JobView, describe


def list_jobs(
    storage: Storage = DEFAULT_STORAGE,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """List jobs with state, step and loss: those of a storage folder, and those of the service, where there is one."""
    access = Access(address, token_file, insecure)
    jobs = _submitted(access)
    if address is None:
        from dbp.jobs.directory import list_job_directories

        of_service = {str(view.directory) for view in jobs}
        here = [describe(directory) for directory in list_job_directories(storage)]
        jobs = [*(view for view in here if str(view.directory) not in of_service), *jobs]
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json([job.to_json() for job in jobs])
    elif not jobs:
        where = f"in {storage}" if address is None else f"at {address}"
        talk(
            f"no jobs {where}; `dbp run JOB` makes one here, `dbp submit JOB` on a service; --storage names another folder"
        )
    else:
        rows = [(job.job, job.state, job.progress, job.loss, job.workers, job.started, job.message) for job in jobs]
        output.rows(("JOB", "STATE", "STEP", "LOSS", "WORKERS", "STARTED", "MESSAGE"), rows)


def _submitted(access: Access) -> list[JobView]:
    """Return the service's jobs. A service that does not answer hides no job of this machine, unless it was asked for by name."""
    try:
        client = access.client_if_any()
        return [] if client is None else client.list()
    except ServiceError as error:
        if access.address is not None:
            raise
        talk(f"warning: without the jobs of the service: {error}")
        return []
