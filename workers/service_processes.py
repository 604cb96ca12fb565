"""Which processes belong to the local service, and how they end: by facts about each process, never by name.

A process belongs when it is the keeper, or has the service's mark in its environment (all that the keeper starts inherit it,
also drivers of jobs), or is in the keeper's session with the service's temporary folder in its arguments or among its open files
(Ray renames some of its processes, which overwrites their environment), or is a descendant of one that belongs.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from dbp.jobs.local_service import LocalService
from dbp.jobs.processes import Process, all_pids, boot_id, parent_and_session, process

MARK = "DBP_LOCAL_SERVICE"
_PAUSE = 0.1
_LISTENS = "0A"  # the state of a listening socket in /proc/net/tcp


def processes_of(service: LocalService) -> list[Process]:
    """Return the live processes that belong to the service. None after a restart of the machine: nothing outlives that."""
    if service.boot != boot_id():
        return []
    mine = {os.getpid(), os.getppid()}
    candidates = [pid for pid in all_pids() if _own(pid) and pid not in mine]
    belongs = {
        pid for pid in candidates if _is_keeper(pid, service) or _marked(pid, service) or _in_session(pid, service)
    }
    parents = {pid: found[0] for pid in candidates if (found := parent_and_session(pid)) is not None}
    while more := {pid for pid, parent in parents.items() if parent in belongs} - belongs:
        belongs |= more
    found_now = (process(pid) for pid in sorted(belongs))
    return [each for each in found_now if each is not None and each.runs()]


def end_processes(service: LocalService, patience: float, tell: Callable[[str], None]) -> None:
    """End all processes: first the keeper gets TERM, and ends Ray in good order; what is left gets TERM, then KILL."""
    if service.boot != boot_id():
        return
    send(service.keeper, signal.SIGTERM)
    _wait(lambda: not service.keeper.runs(), patience)
    if _wait(lambda: not processes_of(service), 2.0):
        return
    for signum, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0), (signal.SIGKILL, 10.0)):
        left = processes_of(service)
        tell(f"{len(left)} processes have not ended; sends them {signum.name}")
        for each in left:
            send(each, signum)
        if _wait(lambda: not processes_of(service), seconds):
            return


def listening_ports(service: LocalService) -> dict[int, tuple[int, str]]:
    """Return the TCP ports that the service listens on, with process and address (as `/proc/net/tcp` spells it) of each."""
    listening: dict[str, tuple[int, str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS:
                    address, _, port = fields[1].rpartition(":")
                    listening[f"socket:[{fields[9]}]"] = int(port, 16), address
    found: dict[int, tuple[int, str]] = {}
    for each in processes_of(service):
        with suppress(OSError):
            for number, where in (listening[path] for path in _open_files(each.pid) if path in listening):
                found[number] = each.pid, where
    return found


def send(target: Process, signum: signal.Signals) -> None:
    """Send a signal to exactly this process: not to one that has taken its number meanwhile. A process that is gone is no error."""
    with suppress(ProcessLookupError, PermissionError):
        handle = os.pidfd_open(target.pid)
        try:
            if target.runs():  # the handle stays with the process that had the number when this was true
                signal.pidfd_send_signal(handle, signum)
        finally:
            os.close(handle)


def _wait(done: Callable[[], bool], patience: float) -> bool:
    until = time.monotonic() + patience
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return True


def _own(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        return False


def _is_keeper(pid: int, service: LocalService) -> bool:
    return pid == service.keeper.pid and process(pid) == service.keeper


def _marked(pid: int, service: LocalService) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={service.mark}".encode() in environment.split(b"\0")


def _in_session(pid: int, service: LocalService) -> bool:
    found = parent_and_session(pid)
    if found is None or found[1] != service.keeper.pid:
        return False
    folder = str(service.temporary)
    try:
        if os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes():
            return True
        return any(path.startswith(folder + "/") for path in _open_files(pid))
    except OSError:
        return False


def _open_files(pid: int) -> Iterable[str]:
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            yield os.readlink(f"/proc/{pid}/fd/{descriptor}")
