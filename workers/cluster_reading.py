"""Reading a storage through the cluster: a question goes in as a small job, its log holds the answer."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dbp.errors import ServiceError
from dbp.jobs.wording import printable
from dbp.workers.frames import answers
from dbp.workers.ray_jobs import RayJob, RayJobs

ENTRYPOINT = "exec python -m dbp.workers.reader"
METADATA = {"dbp_reader": "1"}
VARIABLE = "DBP_READER_QUESTION"
START_SECONDS = 60.0
PART_BYTES = 16 << 20  # a log is read whole, again and again while it grows
_POLL_SECONDS = 0.25
FORGET_SECONDS = 5.0
_PREFIX = "dbp-reader-"


class ClusterReading:
    """Asks the questions of `reading.py` on the cluster."""

    def __init__(self, jobs: RayJobs) -> None:
        self._jobs = jobs

    def ask(self, question: str, **arguments: object) -> bytes:
        """Return the answer to one question. ServiceError when there is none; ReaderError says what the cluster said."""
        return self.ask_all(question, 1, **arguments)[0]

    def ask_all(self, question: str, count: int, **arguments: object) -> list[bytes]:
        """Return the `count` answers to a question that has several."""
        with self._reader(question, arguments) as name:
            while True:
                found = answers(self._next_log(name))
                if len(found) >= count:
                    return found
                if self._ended(name):
                    raise ServiceError(
                        f"{self._jobs.address}: the job that reads the storage there ended early; try again"
                    )
                time.sleep(_POLL_SECONDS)

    def watch(self, storage: str, job: str, offset: int) -> Iterator[bytes]:
        """Yield one glimpse after the other, about one each second, for some minutes."""
        with self._reader("watch", {"storage": storage, "job": job, "offset": offset}) as name:
            seen = 0
            while True:
                found = answers(self._next_log(name))
                yield from found[seen:]
                seen = max(seen, len(found))
                if found and self._ended(name):
                    return
                time.sleep(3 * _POLL_SECONDS)

    @contextmanager
    def _reader(self, question: str, arguments: dict[str, object]) -> Iterator[str]:
        """Start the job, and stop it at the end."""
        name = f"{_PREFIX}{secrets.token_hex(8)}"
        text = json.dumps({"ask": question, "arguments": arguments}).encode()
        environment = {"env_vars": {VARIABLE: base64.b64encode(text).decode()}}
        self._jobs.submit(name, ENTRYPOINT, environment, METADATA)
        self._until = time.monotonic() + START_SECONDS
        try:
            yield name
        finally:
            with suppress(ServiceError):  # it ends by itself
                self._clean_up(name)

    def _next_log(self, name: str) -> str:
        """Wait for the reader to say something. ServiceError when it ended, or does not start."""
        while True:
            job = self._job(name)
            log = "" if job.status == "PENDING" else self._jobs.log(name)
            if "dbp-frame" in log:
                return log
            if job.has_ended:
                lines = [line for line in job.message.splitlines() if line.strip()]
                raise ServiceError(
                    f"{self._jobs.address}: the job that reads the storage there failed: "
                    f"{printable(lines[-1])[:300] if lines else job.status}"
                )
            if time.monotonic() > self._until:
                raise ServiceError(
                    f"{self._jobs.address}: the job that reads the storage there did not start within {START_SECONDS:.0f} s"
                )
            time.sleep(_POLL_SECONDS)

    def _job(self, name: str) -> RayJob:
        job = self._jobs.job(name)
        if job is None:
            raise ServiceError(
                f"{self._jobs.address}: has lost the job that reads the storage there; was it restarted?"
            )
        return job

    def _ended(self, name: str) -> bool:
        return self._job(name).has_ended

    def _clean_up(self, name: str) -> None:
        """Stop the reader, and have Ray forget those that ended a while ago.

        Not this one, not yet: a job that is deleted while Ray still sees its process end comes back as a failed one.
        """
        self._jobs.stop(name)
        for job in self._jobs.jobs():
            if job.id.startswith(_PREFIX) and job.has_ended and time.time() - (job.ended or 0.0) > FORGET_SECONDS:
                self._jobs.delete(job.id)
