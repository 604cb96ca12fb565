"""`dbp verify`: does a job directory agree with itself?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbp.cli.errors import FAILED, answer
from dbp.cli.options import DEFAULT_STORAGE, Insecure, JobName, Json, ServiceAddress, Storage, TokenFile
from dbp.cli.output import Mode, Output, talk
from dbp.cli.service import Access, directory_to_read

if TYPE_CHECKING:
    from dbp.jobs.job import Job


def verify(
    job: JobName,
    storage: Storage = DEFAULT_STORAGE,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Check that a job's records agree: history, digests, checksums, status, data. Only reads; running jobs, too.

    Exit code 1 when anything is wrong: then one line for each finding says where, what was expected and what was found.
    """
    from dbp.evidence import verification

    directory = directory_to_read(job, storage, Access(address, token_file, insecure))
    report = verification.verify(directory, _data_now)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json(report.to_json())
    else:
        output.rows(("CHECK", "OUTCOME", "SAYS"), [(check.name, check.outcome, check.says) for check in report.checks])
        for warning in report.warnings:
            talk(f"warning: {warning}")
        for finding in report.findings:
            talk(f"wrong: {finding}")
    if report.findings:
        answer(FAILED)


def _data_now(job: Job) -> str:
    from dbp.workers.preparation import open_dataset

    return open_dataset(job).fingerprint()
