"""How much memory processes on this machine may use: the machine's own, or what a control group (a container) allows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MachineMemory:
    """Bytes. Both 0 where the system does not say (not Linux)."""

    usable: int  # in all
    available: int  # now


def machine_memory(root: Path = Path("/")) -> MachineMemory:
    """Look at /proc/meminfo and at the memory limits of this process's control groups, of version 1 and 2, under `root`."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        facts = {
            name: int(rest.split()[0]) << 10 for name, rest in (line.split(":", 1) for line in lines if ":" in line)
        }
        usable, available = facts["MemTotal"], facts.get("MemAvailable", facts["MemFree"])
    except (OSError, ValueError, KeyError, IndexError):
        return MachineMemory(0, 0)
    for limit, used in _limits(root):
        usable, available = min(usable, limit), min(available, max(limit - used, 0))
    return MachineMemory(usable, available)


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of this process's group and of those it lies in. A container sees its own as the top."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts) + 1):
            folder = mount.joinpath(*parts[:depth])
            limit, used = _number(folder / names[0]), _number(folder / names[1])
            if limit is not None and used is not None:
                yield limit, used - _statistic(folder / "memory.stat", names[2])  # what lies in files can be dropped


def killed_for_want_of_memory(root: Path = Path("/")) -> int:
    """Return how many processes the kernel's out-of-memory killer has ended on this machine; 0 where it does not say."""
    return _statistic(root / "proc/vmstat", "oom_kill")


def _statistic(path: Path, name: str) -> int:
    for line in _text(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None  # "max": no limit


def _text(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text()
    return ""
