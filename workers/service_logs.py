"""The log of a submitted job: what its drivers printed, asked for again and again while it grows.

Ray can push a log through a socket as well; asking survives a link that is cut for a while.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from dbp.errors import ServiceError
from dbp.workers.ray_jobs import RayJob, RayJobs
from dbp.workers.service_view import ServiceJob, attempt_of
from dbp.workers.storages import Reading

PATIENCE_SECONDS = 60.0  # so long a service may be away while its log is followed
_POLL_SECONDS = 0.5
_BYTES_PER_SECOND = 4 << 20  # a log is read from its start each time: the longer, the more seldom


def read_log(jobs: RayJobs, job: ServiceJob, reading: Reading, follow: bool) -> Iterator[str]:
    """Yield the lines of all attempts that Ray remembers; where it remembers none, those of the job directory's log."""
    if not job.attempts:
        yield from _of_directory(job, reading)
        return
    for number, attempt in enumerate(job.attempts):
        if len(job.attempts) > 1:
            yield f"== attempt {attempt_of(attempt)} =="
        if follow and number == len(job.attempts) - 1:
            yield from _followed(jobs, attempt)
        else:
            yield from _log_of(jobs, attempt).splitlines()


def _log_of(jobs: RayJobs, attempt: RayJob) -> str:
    try:
        return jobs.log(attempt.id)
    except ServiceError as error:
        if not attempt.has_ended:
            raise
        return f"(not there any more: {error})"  # the node that it ran on is gone, and other attempts need not be


def _of_directory(job: ServiceJob, reading: Reading) -> Iterator[str]:
    logs = [file for file in reading.survey(job.id)["files"] if file["name"] == "log.txt"]
    data = b"".join(part for _, part in reading.contents(job.id, logs))
    yield from data.decode(errors="replace").splitlines()


def _followed(jobs: RayJobs, attempt: RayJob) -> Iterator[str]:
    shown = 0
    silent_since = None
    while True:
        try:
            now = jobs.job(attempt.id)
            text = jobs.log(attempt.id)
        except ServiceError:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > PATIENCE_SECONDS:
                raise
            time.sleep(2 * _POLL_SECONDS)
            continue
        silent_since = None
        ended = now is None or now.has_ended  # asked before the log: nothing is printed after the end
        end = len(text) if ended else text.rfind("\n") + 1
        if end > shown:
            yield from text[shown:end].splitlines()
            shown = end
        if ended:
            return
        time.sleep(max(_POLL_SECONDS, len(text) / _BYTES_PER_SECOND))
