"""The service of one machine: `dbp up` starts it, `dbp down` stops exactly what `dbp up` started.

A Ray of its own: own temporary folder, free ports on the loopback address alone, and a token whatever the environment says. Other
Rays on the machine are neither joined nor disturbed.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dbp.errors import JobDirectoryError, ServiceError, StorageError
from dbp.jobs.clock import utc_now
from dbp.jobs.local_service import (
    LocalService,
    forget,
    host_name,
    log_file,
    own_folder,
    record,
    recorded_service,
    state_folder,
    token_file,
)
from dbp.jobs.lock import hold_lock
from dbp.jobs.processes import boot_id
from dbp.storage.atomic_files import storage_error
from dbp.workers.authentication import make_token, read_token
from dbp.workers.jobs_http import RayJob, ask, jobs_of, stop_job
from dbp.workers.ray_head import LOOPBACK, gcs_address, launch, log_folder, reserved_port, usable_cpus
from dbp.workers.service_processes import end_processes, listening_ports, processes_of

Tell = Callable[[str], None]

START_PATIENCE = 180.0  # seconds; 4 to 10 on an idle machine
DOOR_PATIENCE = 60.0  # seconds from Ray's start to its jobs API's first answer; 1 or 2
END_PATIENCE = 15.0  # seconds for Ray to end in good order
CHECKPOINT_PATIENCE = 20.0  # seconds for jobs to write a checkpoint
_PAUSE = 0.2
_LONGEST_TEMPORARY = 32  # characters; Ray adds up to 70, and a socket's path has at most 107


@dataclass(frozen=True)
class Started:
    """What `start` found or did."""

    service: LocalService
    new: bool  # False: it was up already


@dataclass(frozen=True)
class Stopped:
    """What `stop` found and did."""

    service: LocalService | None  # None: nothing was recorded
    was_up: bool
    ended: tuple[RayJob, ...] = ()  # jobs that ended when asked to
    cut: tuple[RayJob, ...] = ()  # jobs that did not


def start(cpus: int | None, storage: str, tell: Tell) -> Started:
    """Start the service of this machine, or find it up. `storage` is an absolute path or a URI.

    Raises ServiceError when it cannot be started (what was begun is undone), StorageError when dbp's own folder cannot be used.
    """
    _check_platform()
    with _alone():
        last = recorded_service()
        if last is not None and last.address and last.runs():
            _check_answers(last)
            return Started(last, new=False)
        if last is not None:
            tell("the last local service ended without `dbp down`; clears up what it left")
            _clear(last, tell)
        return Started(_start(cpus, storage, tell), new=True)


def stop(tell: Tell, patience: float = CHECKPOINT_PATIENCE) -> Stopped:
    """Stop the service of this machine and all that belongs to it; running jobs get `patience` seconds to write a checkpoint."""
    with _alone():
        service = recorded_service()
        if service is None:
            return Stopped(None, was_up=False)
        was_up = bool(service.address) and service.runs()
        ended, cut = _stop_jobs(service, patience, tell) if was_up else ((), ())
        if was_up:
            tell("stops Ray")
        _clear(service, tell)
        return Stopped(service, was_up, ended, cut)


def _start(cpus: int | None, storage: str, tell: Tell) -> LocalService:
    count = cpus if cpus is not None else usable_cpus()
    tell(f"starts Ray on this machine with {count} CPU{'s' if count != 1 else ''} (a few seconds)")
    _make_storage(storage)
    temporary = Path(tempfile.mkdtemp(prefix="dbp-", dir=_short_folder()))  # 0700
    service: LocalService | None = None
    try:
        make_token(token_file())
        mark = secrets.token_hex(16)
        with reserved_port() as port:
            keeper = launch(temporary, port, count, mark, token_file(), log_file())
            service = LocalService(
                address="",
                gcs_address="",
                token_file=token_file(),
                storage=storage,
                cpus=count,
                keeper=keeper,
                mark=mark,
                temporary=temporary,
                log=log_file(),
                boot=boot_id(),
                started=utc_now(),
            )
            record(service)  # with no address yet: should this process die now, the next `dbp up` clears up
            service = replace(service, gcs_address=_await_ray(service, tell), address=f"http://{LOOPBACK}:{port}")
            _check_door(service, port)
        record(service)
    except BaseException:
        if service is not None:
            end_processes(service, END_PATIENCE if service.address else 1.0, tell=lambda _: None)
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(StorageError):
            forget()
        raise
    tell("Ray is up and asks for the token")
    return service


def _await_ray(service: LocalService, tell: Tell) -> str:
    began = time.monotonic()
    told = 0
    while (found := gcs_address(service.temporary)) is None:
        waited = time.monotonic() - began
        if not service.keeper.runs():
            raise _failure(service, "Ray did not start")
        if waited > START_PATIENCE:
            raise _failure(service, f"Ray did not start in {START_PATIENCE:.0f} s")
        if int(waited) // 5 > told:
            told = int(waited) // 5
            tell(f"waits for Ray ({waited:.0f} s)")
        time.sleep(_PAUSE)
    return found


def _check_door(service: LocalService, port: int) -> None:
    """Wait for the jobs API; see that it answers with the token and not without.

    First that the port is our Ray's: no other program shall get to see the token.
    """
    token = read_token(service.token_file)
    began = time.monotonic()
    while port not in listening_ports(service) or jobs_of(service.address, token) is None:
        if time.monotonic() - began > DOOR_PATIENCE or not service.keeper.runs():
            raise _failure(service, f"Ray's jobs API does not answer at {service.address}")
        time.sleep(_PAUSE)
    answer = ask(f"{service.address}/api/jobs/")
    if answer is None or answer.status not in (401, 403):
        seen = "nothing" if answer is None else f"status {answer.status}"
        raise _failure(
            service, f"{service.address} answers a request without the token with {seen}, not 401: stopped it"
        )


def _check_answers(service: LocalService) -> None:
    if jobs_of(service.address, read_token(service.token_file)) is None:
        raise ServiceError(
            f"the local service at {service.address} is up (pid {service.keeper.pid}) but does not answer; "
            "next: `dbp down`, then `dbp up`"
        )


def _failure(service: LocalService, what: str) -> ServiceError:
    """Say what Ray's own log says, in one line, and keep the logs: the temporary folder goes."""
    kept = state_folder() / f"local-service-{host_name()}.failed"
    shutil.rmtree(kept, ignore_errors=True)
    logs = log_folder(service.temporary)
    if logs.is_dir():
        shutil.copytree(logs, kept, ignore_dangling_symlinks=True)
    says = _last_line(service.log)
    more = f"; Ray's own logs are in {kept}" if kept.is_dir() else ""
    return ServiceError(f"{what}{f': {says}' if says else ''}; the whole log is {service.log}{more}")


def _last_line(log: Path) -> str:
    """The last line that says something went wrong; the last of all where none does."""
    try:
        lines = [line.strip()[:300] for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    spoken = [line for line in lines if line]
    errors = [line for line in spoken if "Error" in line or "ERROR" in line]
    return next(reversed(errors or spoken), "")


def _stop_jobs(service: LocalService, patience: float, tell: Tell) -> tuple[tuple[RayJob, ...], tuple[RayJob, ...]]:
    """Ask the running jobs to end; return those that did in time, and those that did not."""
    try:
        token = read_token(service.token_file)
    except ServiceError as error:
        tell(f"cannot ask running jobs to end first: {error}")
        return (), ()
    running = [job for job in jobs_of(service.address, token) or () if not job.ended]
    if not running:
        return (), ()
    names = ", ".join(job.job for job in running)
    tell(f"asks running jobs to write a checkpoint and end (at most {patience:.0f} s): {names}")
    for job in running:
        stop_job(service.address, token, job.submission_id)
    until = time.monotonic() + patience
    while True:
        now = {job.submission_id: job for job in jobs_of(service.address, token) or ()}
        seen = [now.get(job.submission_id, job) for job in running]
        if all(job.ended for job in seen) or time.monotonic() > until:
            return tuple(job for job in seen if job.ended), tuple(job for job in seen if not job.ended)
        time.sleep(_PAUSE)


def _clear(service: LocalService, tell: Tell) -> None:
    """End what runs, remove what lies about, forget the service."""
    end_processes(service, END_PATIENCE, tell)
    left = processes_of(service)
    if left:
        pids = ", ".join(str(each.pid) for each in left)
        raise ServiceError(
            f"processes {pids} of the local service do not end, not even killed; try `dbp down` again later"
        )
    if service.temporary.name.startswith("dbp-"):
        shutil.rmtree(service.temporary, ignore_errors=True)
    forget()


@contextmanager
def _alone() -> Iterator[None]:
    own_folder()
    try:
        with hold_lock(state_folder() / f"local-service-{host_name()}.lock"):
            yield
    except JobDirectoryError as error:
        raise ServiceError(f"another `dbp up` or `dbp down` is at work here: {error}") from error


def _make_storage(storage: str) -> None:
    if "://" in storage:
        return
    try:
        Path(storage).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error("be made", Path(storage), error) from error


def _short_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) + len("/dbp-12345678") <= _LONGEST_TEMPORARY else "/tmp"


def _check_platform() -> None:
    if not sys.platform.startswith("linux"):
        raise ServiceError(
            "`dbp up` works on Linux only: it knows its processes by /proc; "
            "next: start Ray yourself (`ray start --head`) and name it with --address"
        )
