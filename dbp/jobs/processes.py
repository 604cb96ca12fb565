"""Processes of this machine, told apart for certain: a number alone is used again, a number and the moment of birth never.

Linux only (`/proc`): elsewhere nothing is found, and so nothing is ever signalled.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Process:
    """One process: its number and when it began, in clock ticks since the machine started."""

    pid: int
    born: int

    def runs(self) -> bool:
        """Whether it still runs; a dead process that nobody has buried yet does not."""
        fields = _fields(self.pid)
        return fields is not None and int(fields[19]) == self.born and fields[0] not in "ZX"


def process(pid: int) -> Process | None:
    """Return the process that has this number now, or None if none has."""
    fields = _fields(pid)
    return None if fields is None else Process(pid, int(fields[19]))


def boot_id() -> str:
    """What the kernel calls this run of the machine: another one after a restart. Empty where it does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def parent_and_session(pid: int) -> tuple[int, int] | None:
    """Return the numbers of a process's parent and of its session's leader, or None if there is no such process."""
    fields = _fields(pid)
    return None if fields is None else (int(fields[1]), int(fields[3]))


def all_pids() -> list[int]:
    """Return the numbers of all processes that can be seen."""
    try:
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    except OSError:
        return []


def _fields(pid: int) -> list[str] | None:
    """The fields of `/proc/PID/stat` after the name (which may hold anything): 0 state, 1 parent, 3 session, 19 birth."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
