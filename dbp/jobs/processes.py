"""Whether a process of this host that wrote something down is still there."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path


def is_gone(pid: int, last_seen: str) -> bool:
    """Whether the process that had this number when it was `last_seen` (ISO 8601) has ended. False where there is none yet."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # it lives, and is another user's
    return _is_another(pid, last_seen)


def _is_another(pid: int, last_seen: str) -> bool:
    """Whether the process of that number is dead but not yet buried, or was born after it was last seen (Linux only)."""
    with suppress(OSError, ValueError, IndexError, StopIteration):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] in ("Z", "X"):
            return True
        booted = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if "btime" in line)
        born = booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")
        # btime is whole seconds and clocks get adjusted: a minute's doubt is for the living.
        return born > datetime.fromisoformat(last_seen).timestamp() + 60
    return False
