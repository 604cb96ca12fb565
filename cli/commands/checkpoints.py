"""`dbp checkpoints`: the checkpoints of a job, each one checked."""

from __future__ import annotations

from dbp.cli.options import DEFAULT_STORAGE, Insecure, JobName, Json, ServiceAddress, Storage, TokenFile
from dbp.cli.output import Mode, Output, talk
from dbp.cli.service import Access, find_job


def checkpoints(
    job: JobName,
    storage: Storage = DEFAULT_STORAGE,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """List the checkpoints of a job and check each one."""
    from dbp.workers import reading

    found = find_job(job, storage, Access(address, token_file, insecure))
    entries = found.client.checkpoints(found.id) if found.client else reading.checkpoints_of(found.local)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json(entries)
    elif not entries:
        talk(f"{found.id} has no checkpoint yet")
    else:
        rows = [
            (entry["step"], entry["bytes"], entry["problem"] or "valid", entry["path"].rpartition("/")[2])
            for entry in entries
        ]
        output.rows(("STEP", "BYTES", "STATE", "FILE"), rows)
