"""A control group of one's own with a memory limit (version 1 or 2), where this process may make one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")


@pytest.fixture
def small_group() -> Iterator[Path]:
    """The folder of a new group; write a limit with `limit`, and a pid into its cgroup.procs. Skips where it cannot be made."""
    version_1 = (_ROOT / "memory" / "cgroup.procs").exists()
    folder = (_ROOT / "memory" if version_1 else _ROOT) / f"dbp-test-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here ({error})")
    try:
        if not _limit_file(folder).exists():
            pytest.skip("control groups do not limit memory here")
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove it as soon as the last of its processes is gone."""
    until = time.monotonic() + 30
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def limit(folder: Path, size: int) -> None:
    """Let the processes of a group use `size` bytes."""
    _limit_file(folder).write_text(str(size))


def _limit_file(folder: Path) -> Path:
    return folder / ("memory.max" if (folder / "cgroup.controllers").exists() else "memory.limit_in_bytes")
