"""`dbp.Client`: hand jobs over to a service, look after them, collect what they made. It needs no Ray of its own.

client = dbp.Client("http://head-node:8265")
name = client.submit("job.yaml")
client.wait(name)
client.fetch(name, "result")
"""

from __future__ import annotations

import difflib
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from dbp.errors import InputError, JobDirectoryError, ServiceError
from dbp.jobs.directory import check_job_id
from dbp.jobs.job import Job
from dbp.jobs.service_config import find_service
from dbp.jobs.view import JobView
from dbp.jobs.wording import show
from dbp.workers.authentication import find_token
from dbp.workers.cluster_reading import FORGET_SECONDS, ClusterReading
from dbp.workers.collecting import Collector, Wanted
from dbp.workers.handover import Handover
from dbp.workers.ray_jobs import RayJob, RayJobs
from dbp.workers.reading import CheckpointFacts, Glimpse
from dbp.workers.service_logs import read_log
from dbp.workers.service_view import ServiceJob, combine, group
from dbp.workers.storages import FarReading, NearReading, Reach, Reading

_POLL_SECONDS = 0.5
ENDING_SECONDS = 20.0  # so long a driver may take to end after its job
PATIENCE_SECONDS = 60.0  # so long a service may be away while a job is waited for

Checkpoints: TypeAlias = list[CheckpointFacts]
Paths: TypeAlias = list[Path]


class UnknownJobError(JobDirectoryError):
    """A job that neither the service nor its storage knows; `known` are the ids that they do know."""

    def __init__(self, job_id: str, where: str, known: Sequence[str]) -> None:
        self.known = tuple(known)
        near = [name for name in reversed(known) if job_id and name.startswith(job_id)][:3]
        near += [name for name in difflib.get_close_matches(job_id[:200], known, n=3, cutoff=0.5) if name not in near]
        hint = f"did you mean {' or '.join(near[:3])}?" if near else "`dbp list` shows the jobs there are"
        super().__init__(f"{show(job_id)}: no job of that id {where}; {hint}")


class Client:
    """A service, found by `address` or else as the commands find it (DBP_ADDRESS, the configuration file, `dbp up`).

    `insecure` accepts a service that asks for no token. Warnings go to `on_warning`; by default they are Python warnings.
    Every method raises ServiceError when the service cannot be reached, JobDirectoryError for a job that it does not know.
    """

    def __init__(
        self,
        address: str | None = None,
        token_file: str | Path | None = None,
        insecure: bool = False,
        *,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        service = find_service(address)
        if service is None:
            raise ServiceError(
                "no service is known here; start one on this machine with `dbp up`, or name one: --address http://host:8265 "
                "(DBP_ADDRESS and `address` in ~/.config/dbp/config.toml do, too)"
            )
        if token_file is not None:
            service = replace(service, token_file=Path(token_file))
        warn = on_warning or (lambda text: warnings.warn(text, stacklevel=3))
        self.service = service
        self._warn = warn
        self._jobs = RayJobs(service.address, find_token(service), insecure=insecure)
        if insecure:
            warn(f"{service.address}: --insecure: whoever reaches this address can run code there")
        if self._jobs.in_clear:
            warn(f"{service.address}: is not https: the token and the data travel in clear")
        self._reach = Reach(self.is_local)
        self._handover = Handover(self._jobs, service, self.is_local, warn)

    @property
    def address(self) -> str:
        """The address of the service."""
        return self.service.address

    @property
    def is_local(self) -> bool:
        """Whether it is the service that `dbp up` started on this machine, which sees the same files."""
        return self.service.source == "dbp up"

    def submit(
        self,
        job: Job | str | Path,
        *,
        job_id: str | None = None,
        storage: str | None = None,
        queue: bool = False,
        overrides: Sequence[str] = (),
    ) -> str:
        """Hand a job (or a job file) over and return its id; it runs on whatever happens to this process.

        `storage` is where its directory is made: a folder that all nodes see, or a URI. A job that needs more than the cluster has
        is refused, unless `queue`.
        """
        return self._handover.submit(job, job_id, storage, queue, overrides)

    def list(self) -> list[JobView]:
        """Return the service's jobs, those that Ray remembers and those below the service's storage, oldest first."""
        known = group(self._jobs.jobs())
        facts: dict[str, dict[str, object]] = {}
        unread: dict[str, str] = {}
        for storage, jobs in _by_storage(known.values()).items():
            try:
                facts |= self._facts(jobs)
            except InputError as error:  # one storage that is away hides no other
                self._warn(f"{storage}: {error}")
                unread |= {job.id: f"{storage} cannot be read" for job in jobs}
        if self.service.storage is not None:
            known_by = [job.id for job in known.values() if job.storage == self.service.storage]
            reading = self._reading(self.service.storage, known_by)
            if reading.is_near:  # nothing is started on the cluster for jobs that nobody asked about
                for each in reading.describe_jobs():
                    name = str(each["job"])
                    known.setdefault(name, ServiceJob(name, self.service.storage))
                    facts.setdefault(name, each)
        views = [combine(job, facts.get(job.id), self.address) for job in known.values()]
        return [
            replace(view, state="UNKNOWN", message=unread[view.job]) if view.job in unread else view for view in views
        ]

    def status(self, job_id: str) -> JobView:
        """Return where a job stands."""
        job = self._find(job_id)
        return self._view(job)

    def logs(self, job_id: str, follow: bool = False) -> Iterator[str]:
        """Yield the lines that a job's driver printed, attempt after attempt; with `follow`, until it ends."""
        job = self._find(job_id)
        return read_log(self._jobs, job, self._reading_of(job), follow)

    def wait(self, job_id: str, timeout: float | None = None) -> JobView:
        """Wait until a job has ended and return how. TimeoutError after `timeout` seconds; the job goes on."""
        began = heard = time.monotonic()
        job = self._find(job_id)
        while True:
            try:
                if self._has_ended(job):
                    return self.status(job_id)
                heard = time.monotonic()
            except ServiceError:
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise
            if timeout is not None and time.monotonic() - began >= timeout:
                raise TimeoutError(f"{job_id}: has not ended within {timeout:g} s; it goes on")
            time.sleep(_POLL_SECONDS)

    def cancel(self, job_id: str) -> JobView:
        """Ask a job to stop after its step, with a checkpoint; return how it was before. One that has ended stays as it is."""
        job = self._find(job_id)
        view = self._view(job)
        if job.newest is not None and not job.newest.has_ended:
            self._jobs.stop(job.newest.id)
        return view

    def resume(self, job_id: str, overrides: Sequence[str] = ()) -> str:
        """Go on with a job that ended or was lost, from its newest good checkpoint; return its id.

        `overrides` may change what changes no bit (``training.max_steps=500``, ``workers=4``).
        """
        job, view = self._ended(job_id, f"`dbp watch {job_id}` shows it, `dbp cancel {job_id}` ends it")
        return self._handover.resume(job, view, overrides)

    def checkpoints(self, job_id: str) -> Checkpoints:
        """Return a job's checkpoints, each one checked, by step."""
        job = self._find(job_id)
        return self._reading_of(job).checkpoints(job.id)

    def fetch(self, job_id: str, directory: str | Path, step: Wanted = None, *, force: bool = False) -> Paths:
        """Write a job's model and records below `directory`, every checksum verified; return the paths written.

        `step` asks for a checkpoint instead: of that step, "last" for the newest good one, or "best" for the lowest validation loss
        of what is kept (which may be the model). CheckpointError names the steps that are there.
        """
        job = self._find(job_id)
        reading = self._reading_of(job)
        survey = reading.survey(job.id, checked=step in ("best", "last"))
        view = combine(job, survey["view"], self.address)
        return Collector(view, reading, survey, Path(directory)).fetch(step, force)

    def delete(self, job_id: str) -> None:
        """Remove a job that does not run: its directory, and what Ray remembers of it. It cannot be undone."""
        job, _ = self._ended(job_id, f"Stop it first: dbp cancel {job_id}")
        if job.storage is not None:
            self._reading_of(job).remove(job.id)
        for attempt in job.attempts:
            # A job that is deleted while Ray still sees its process end comes back as a failed one.
            if attempt.ended is not None:
                time.sleep(min(max(0.0, attempt.ended + FORGET_SECONDS - time.time()), FORGET_SECONDS))
            self._jobs.delete(attempt.id)

    def glimpses(self, job_id: str) -> Generator[tuple[JobView, Glimpse | None], None, None]:
        """Yield how a job is and its new metrics, again and again, until it has ended. The caller waits between two of them."""
        job = self._find(job_id)
        seen: Iterator[Glimpse] | None = None
        while True:
            job = self._refreshed(job)
            if job.storage is None or (job.newest is not None and job.newest.status == "PENDING" and seen is None):
                yield combine(job, None, self.address), None
                continue
            if seen is None:
                seen = self._reading_of(job).glimpses(job.id)
            glimpse = next(seen)
            view = combine(self._refreshed(job), glimpse["view"], self.address)
            if not view.is_alive:  # the glimpse may be older than the end: the last word is asked for once more
                view = self.status(job_id)
            yield view, glimpse
            if not view.is_alive:
                return

    def knows(self, job_id: str) -> bool:
        """Whether there is a job of that id."""
        try:
            self._find(job_id)
        except UnknownJobError:
            return False
        return True

    def _find(self, job_id: str) -> ServiceJob:
        """Return the job of that id. JobDirectoryError, suggesting near ones, when neither Ray nor the storage knows it."""
        check_job_id(job_id)
        known = group(self._jobs.jobs())
        if job_id in known:
            return known[job_id]
        ids = list(known)
        if self.service.storage is not None:
            reading = self._reading(self.service.storage, [job_id, *ids])
            if reading.describe_jobs([job_id]):
                return ServiceJob(job_id, self.service.storage)
            if reading.is_near:
                ids += [str(facts["job"]) for facts in reading.describe_jobs()]
        raise UnknownJobError(job_id, f"at {self.address}", ids)

    def _ended(self, job_id: str, advice: str) -> tuple[ServiceJob, JobView]:
        """Return a job that has ended, its driver too. JobDirectoryError, with `advice`, for any other."""
        job = self._find(job_id)
        view = self._view(job)
        until = time.monotonic() + ENDING_SECONDS
        while not view.is_alive and job.newest is not None and not job.newest.has_ended and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)  # the job has written its last word, and its driver is about to end
            job = self._refreshed(job)
        if view.is_alive or (job.newest is not None and not job.newest.has_ended):
            raise JobDirectoryError(
                f"{job_id}: is {view.state} ({view.message}); expected a job that has ended. {advice}"
            )
        return job, view

    def _refreshed(self, job: ServiceJob) -> ServiceJob:
        return group(self._jobs.jobs()).get(job.id, job)

    def _has_ended(self, job: ServiceJob) -> bool:
        if job.newest is None:
            return not self._view(job).is_alive
        now: RayJob | None = self._jobs.job(job.newest.id)
        return now is None or now.has_ended

    def _view(self, job: ServiceJob) -> JobView:
        """Return where a job stands: what its directory says counts, and of a driver that failed its own word will do."""
        try:
            facts = self._facts([job]).get(job.id)
        except InputError as error:
            if job.newest is None or job.newest.status != "FAILED":
                raise
            self._warn(f"{job.storage}: cannot be read ({error}); what the job's driver said is shown")
            facts = None
        return combine(job, facts, self.address)

    def _facts(self, jobs: Sequence[ServiceJob]) -> dict[str, dict[str, object]]:
        """Return what the directories of these jobs say, by id; one question for each storage."""
        found: dict[str, dict[str, object]] = {}
        for storage, begun in _by_storage(jobs).items():
            ids = [job.id for job in begun]
            for facts in self._reading(storage, ids).describe_jobs(ids):
                found[str(facts["job"])] = facts
        return found

    def _reading_of(self, job: ServiceJob) -> Reading:
        if job.storage is None:
            raise InputError(
                f"{job.id}: the service does not say where this job is kept; was it submitted with `dbp submit`?"
            )
        return self._reading(job.storage, [job.id])

    def _reading(self, storage: str, jobs: Sequence[str]) -> Reading:
        if self._reach.is_near(storage, jobs):
            return NearReading(storage)
        return FarReading(storage, ClusterReading(self._jobs))


def _by_storage(jobs: Iterable[ServiceJob]) -> dict[str, list[ServiceJob]]:
    """Return the jobs that may have a directory by now, by where that is."""
    found: dict[str, list[ServiceJob]] = {}
    for job in jobs:
        waits = job.newest is not None and job.newest.status == "PENDING" and len(job.attempts) == 1
        if job.storage is not None and not waits:
            found.setdefault(job.storage, []).append(job)
    return found
