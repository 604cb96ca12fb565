"""What a job is, from the two who know: Ray Jobs, which runs its driver, and the job directory, which the job writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dbp.jobs.view import JobView, view_from_facts
from dbp.workers.ray_jobs import RayJob

PATIENCE_SECONDS = 120.0  # so long a supervisor may take to replace a coordinator whose heart stopped


@dataclass(frozen=True)
class ServiceJob:
    """A submitted job: where it is kept, and its attempts that Ray remembers, oldest first."""

    id: str
    storage: str | None
    attempts: tuple[RayJob, ...] = ()

    @property
    def newest(self) -> RayJob | None:
        """The attempt that counts; None when Ray remembers none."""
        return self.attempts[-1] if self.attempts else None


def attempt_of(job: RayJob) -> int:
    """Return which attempt of its job a driver is."""
    text = job.metadata.get("dbp_attempt", "")
    return int(text) if text.isascii() and text.isdigit() else 1


def group(jobs: Iterable[RayJob]) -> dict[str, ServiceJob]:
    """Return dbp's jobs by id, in the order of their first submission; other people's jobs are left out."""
    found: dict[str, list[RayJob]] = {}
    for job in sorted(jobs, key=lambda job: (job.submitted or 0.0, job.id)):
        name = job.metadata.get("dbp_job")
        if name:
            found.setdefault(name, []).append(job)
    grouped = {}
    for name, attempts in found.items():
        attempts.sort(key=attempt_of)
        grouped[name] = ServiceJob(name, attempts[-1].metadata.get("dbp_storage") or None, tuple(attempts))
    return grouped


def combine(job: ServiceJob, facts: Mapping[str, object] | None, address: str) -> JobView:
    """Return the job as it is shown; `facts` is what its directory says (see `reading.describe_jobs`), None without one."""
    view = None if facts is None else replace(view_from_facts(facts), service=address)
    newest = job.newest
    if newest is None:
        return view or _without_directory(job, "UNKNOWN", "neither the service nor its storage know this job", address)
    if view is None or _is_of_earlier_attempt(view, facts or {}, newest):
        state, message = _as_ray_says(newest)
        shown = view or _without_directory(job, state, message, address)
        return replace(shown, state=state, message=message)
    if newest.has_ended:
        return _ended(view, newest)
    return _under_way(view)


def _without_directory(job: ServiceJob, state: str, message: str, address: str) -> JobView:
    directory = f"{job.storage.rstrip('/')}/{job.id}" if job.storage else ""
    return JobView(job.id, directory, state, message, None, address)


def _is_of_earlier_attempt(view: JobView, facts: Mapping[str, object], newest: RayJob) -> bool:
    attempt = facts.get("attempt")
    if isinstance(attempt, int) and attempt < attempt_of(newest):
        return True
    if view.is_alive or view.status is None or newest.submitted is None:
        return False
    beat = _time(view.status.heartbeat)
    return beat is not None and beat < newest.submitted - 1  # heartbeats are whole seconds


def _as_ray_says(job: RayJob) -> tuple[str, str]:
    again = attempt_of(job) > 1
    if job.status in ("PENDING", "RUNNING"):
        return "PENDING", f"attempt {attempt_of(job)} starts" if again else "starts"
    if job.status == "STOPPED":
        return "STOPPED", "cancelled before it started" + (" again" if again else "")
    if job.status == "FAILED":
        return "FAILED", _reason(job)
    return "UNKNOWN", "its driver ended well, but there is no job directory"


def _reason(job: RayJob) -> str:
    """Return why a driver failed: the last line that it printed, which Ray keeps at the end of its message."""
    lines = [line.strip() for line in job.message.splitlines() if line.strip()]
    last = lines[-1] if lines else "no reason is known"
    return last.removeprefix("FAILED: ").removeprefix("error: ")[:500]


def _ended(view: JobView, newest: RayJob) -> JobView:
    if not view.is_alive:
        return view
    step = f" after step {view.step}" if view.step else ""
    how = {"STOPPED": "was killed before it could stop"}.get(newest.status, "ended unexpectedly")
    message = f"its driver {how}{step}; continue with `dbp resume {view.job}`"
    return replace(view, state="LOST", message=message)


def _under_way(view: JobView) -> JobView:
    """A driver that lives looks after its coordinator: a heart that stopped a moment ago is not lost yet."""
    if view.state != "LOST" or view.status is None:
        return view
    beat = _time(view.status.heartbeat)
    silent = 0.0 if beat is None else datetime.now(UTC).timestamp() - beat
    if silent < PATIENCE_SECONDS:
        return replace(
            view, state=view.status.state, message=f"no sign of life for {silent:.0f} s; its supervisor looks after it"
        )
    message = f"no sign of life for {silent:.0f} s; `dbp cancel {view.job}`, then `dbp resume {view.job}`"
    return replace(view, message=message)


def _time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
