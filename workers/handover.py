"""Handing a job over: everything that can be checked here is, then its files travel and its driver is started."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dbp import __version__
from dbp.data.file_set import names_many
from dbp.errors import InputError, JobDirectoryError, JobFileError, Problem
from dbp.jobs.directory import check_job_id, new_job_id
from dbp.jobs.job import Job
from dbp.jobs.service_config import Service
from dbp.jobs.submission import Submission
from dbp.jobs.view import JobView
from dbp.jobs.wording import show
from dbp.storage.uris import is_remote, parse_uri
from dbp.workers.places import most_places, place_of
from dbp.workers.ray_jobs import RayJobs, TakenError
from dbp.workers.service_view import ServiceJob, attempt_of
from dbp.workers.transfer import (
    MOST_BYTES,
    Cargo,
    check_written_paths,
    pack,
    sort_files,
    travelling_job,
)

ENTRYPOINT = "exec python -m dbp.workers.entrypoint"
# Ray gives a driver three seconds between TERM and KILL; ours writes a checkpoint first.
STOP_SECONDS = "600"
# One thread per process: numpy's BLAS, which the kernel does not use, would start one per CPU.
ENVIRONMENT = {
    "RAY_JOB_STOP_WAIT_TIME_S": STOP_SECONDS,
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
DEFAULT_STORAGE = "runs"
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CHECKED_HERE_BYTES = 20_000_000  # tables up to this size are looked at before they travel


@dataclass(frozen=True)
class Handover:
    """Hands jobs over to one service."""

    jobs: RayJobs
    service: Service
    is_local: bool
    warn: Callable[[str], None]

    def submit(
        self, job: Job | str | Path, job_id: str | None, storage: str | None, queue: bool, overrides: Sequence[str]
    ) -> str:
        """See `Client.submit`."""
        loaded, source = self._load(job, overrides)
        if job_id is not None:
            check_job_id(job_id)
        place = self._storage(loaded, storage)
        if not isinstance(job, Job):
            check_written_paths(Path(job), overrides)
        cargo = sort_files(loaded, source, elsewhere=not self.is_local)
        self._tell_what_stays(cargo)
        _look_at_tables(loaded, cargo)
        if not queue:
            self._check_room(loaded, source)
        name = job_id or self._new_id(loaded.name)
        submission = Submission(
            job=name,
            attempt=1,
            action="train",
            storage=place,
            dbp_version=__version__,
            inputs=cargo.inputs,
        )
        try:
            self._start(submission, loaded.name, loaded.required_workers, travelling_job(loaded, cargo), cargo)
        except TakenError:
            raise JobDirectoryError(
                f"{self.service.address}: has a job {name} already; go on with it with `dbp resume {name}`, or give the new one "
                "another --id"
            ) from None
        return name

    def resume(self, job: ServiceJob, view: JobView, overrides: Sequence[str]) -> str:
        """See `Client.resume`."""
        if job.storage is None:
            raise InputError(f"{job.id}: the service does not say where this job is kept; it cannot be resumed")
        before = [attempt_of(attempt) for attempt in job.attempts]
        attempt = 1 + max([*before, view.status.attempt if view.status else 1])
        metadata = job.newest.metadata if job.newest else {}
        workers = metadata.get("dbp_workers") or (str(view.status.workers) if view.status else "")
        for override in overrides:
            key, _, value = override.partition("=")
            if key.strip() == "workers":
                threads = re.fullmatch(r"\s*\{\s*threads:\s*(\d+)\s*\}\s*", value)
                workers = threads[1] if threads else value.strip() if value.strip().isdigit() else workers
        submission = Submission(
            job=job.id,
            attempt=attempt,
            action="resume",
            storage=job.storage,
            dbp_version=__version__,
            overrides=list(overrides),
        )
        self._start(submission, metadata.get("dbp_name", job.id), workers)
        return job.id

    def _start(
        self,
        submission: Submission,
        name: str,
        workers: int | str,
        job_file: str | None = None,
        cargo: Cargo | None = None,
    ) -> None:
        package = pack(submission, job_file, cargo.travelling if cargo else ())
        metadata = {
            "dbp_job": submission.job,
            "dbp_attempt": str(submission.attempt),
            "dbp_name": name,
            "dbp_version": __version__,
            "dbp_workers": str(workers),
            "dbp_storage": submission.storage,
        }
        runtime_env: dict[str, object] = {"working_dir": self.jobs.upload(package), "env_vars": dict(ENVIRONMENT)}
        first = submission.action == "train"
        ray_id = submission.job if first else f"{submission.job}.attempt-{submission.attempt}"
        self.jobs.submit(ray_id, ENTRYPOINT, runtime_env, metadata)

    def _load(self, job: Job | str | Path, overrides: Sequence[str]) -> tuple[Job, str]:
        if isinstance(job, Job):
            if overrides:
                raise InputError("overrides are for job files; expected a Job that has its values already")
            return job, job.name
        return Job.from_file(job, overrides), str(job)

    def _storage(self, job: Job, asked: str | None) -> str:
        """Return where the job directory goes: as asked, else as the job file says, else the service's, else the default.

        A job file that says the default, as that of `dbp init` does, says nothing.
        """
        said = None if job.storage == DEFAULT_STORAGE else job.storage
        place = asked or said or self.service.storage or job.storage
        if is_remote(place):
            return str(parse_uri(place))
        if _URI.match(place) or os.path.isabs(place):
            return place
        if self.is_local or self.jobs.is_loopback:
            return os.path.abspath(place)
        raise InputError(
            f"storage: {show(place)} is a folder of this machine; expected a folder that all nodes of {self.service.address} see, "
            "by its whole path, or a URI such as s3://bucket/runs: --storage, `storage` in the job file or in the configuration"
        )

    def _tell_what_stays(self, cargo: Cargo) -> None:
        for key, text in cargo.staying:
            if not self.is_local and not _URI.match(text):
                why = (
                    "is a table of many files"
                    if names_many(text)
                    else f"is larger than {MOST_BYTES // 10**6} MB with the others"
                    if os.path.exists(text)
                    else "is not on this machine"
                )
                self.warn(f"{key}: {text} {why} and does not travel; every node of the service must see it there")

    def _new_id(self, name: str) -> str:
        """Return an id by name and time that no job of the service has."""
        taken = {job.metadata.get("dbp_job") for job in self.jobs.jobs()}
        start = candidate = new_job_id(name)
        number = 1
        while candidate in taken:
            number += 1
            candidate = f"{start}-{number}"
        return candidate

    def _check_room(self, job: Job, source: str) -> None:
        """Refuse a job that needs more than the cluster has, were it idle."""
        nodes = self.jobs.nodes()
        if not nodes:
            return
        need = place_of(job)
        room = most_places(need, nodes)
        wanted = max(1, job.required_workers)
        if wanted > room:
            there = f"{sum(node.get('CPU', 0.0) for node in nodes):g} CPUs on {len(nodes)} node{'s' if len(nodes) > 1 else ''}"
            each = (
                "a CPU each"
                if need == {"CPU": 1.0}
                else ", ".join(f"{amount:g} {name}" for name, amount in need.items())
                + (" each" if job.required_workers else " on one node")
            )
            raise JobFileError(
                source,
                [
                    Problem(
                        "workers",
                        f"{_wanted(job)} need {each}, and {self.service.address} has {there}: room for {room}. "
                        "Take fewer (--workers, --threads). To have it wait until nodes are added: --queue",
                    )
                ],
            )


def _wanted(job: Job) -> str:
    if job.required_workers:
        return f"{job.required_workers} workers"
    return "a process" if job.threads == 1 else f"{job.threads} threads of one process"


def _look_at_tables(job: Job, cargo: Cargo) -> None:
    """Check tables against the job where all of them are small and here: better now than in the driver's log."""
    from dbp.workers.preparation import check_size, open_dataset

    if any(key.startswith("data.") for key, _ in cargo.staying):
        return
    if sum(file.size for file in cargo.travelling) > _CHECKED_HERE_BYTES:
        return
    check_size(job, open_dataset(job), job.required_workers or job.threads)
