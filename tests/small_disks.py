"""Disks of a stated size, in memory, and other mounts. Root only: tests are skipped, with the reason, where they cannot be had."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def mount(*arguments: object) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine mounts no {arguments[1]}: {done.stderr.strip()}")


@contextmanager
def disk_of(size: str, place: Path) -> Iterator[Path]:
    """A disk at a new folder `place`; `size` is such as 256k."""
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)
    yield place
    subprocess.run(["umount", "-l", place], check=True)
