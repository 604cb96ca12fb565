"""`dbp watch`: a job, live."""

from __future__ import annotations

from dbp.cli.options import DEFAULT_STORAGE, Insecure, JobName, ServiceAddress, Storage, TokenFile
from dbp.cli.output import Output, clean, flush_results


def watch(
    job: JobName,
    storage: Storage = DEFAULT_STORAGE,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
) -> None:
    """Watch a job until it ends: steps, loss, workers, time left.

    Ctrl-C leaves; the job goes on. The exit code says how it ended: 0, 1 when it failed, 130 when it was stopped.
    """
    from dbp.cli.following import detaching, leave_as
    from dbp.cli.service import Access, find_job
    from dbp.cli.watching import watch as show

    found = find_job(job, storage, Access(address, token_file, insecure))
    output = Output()

    def say(line: str) -> None:
        output.text(clean(line))
        flush_results()

    with detaching(found.id):
        view = show(found, say)
    leave_as(view)
