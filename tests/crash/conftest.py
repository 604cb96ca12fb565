from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from crash.faults import HERE, Faults
from small_disks import disk_of


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`fault.c`, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or os.uname().sysname != "Linux":
        pytest.skip(
            "faults are put between a process and the C library by a library of ours: needs Linux and a C compiler"
        )
    made = tmp_path_factory.mktemp("shim") / "fault.so"
    subprocess.run([compiler, "-O1", "-Wall", "-shared", "-fPIC", "-o", made, HERE / "fault.c", "-ldl"], check=True)
    return made


@pytest.fixture(scope="session")
def faults(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faults]:
    server = Faults(shim, tmp_path_factory.mktemp("faults"))
    yield server
    server.close()


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    with disk_of("256k", tmp_path / f"disk-{secrets.token_hex(4)}") as place:
        yield place


@pytest.fixture(params=["this machine's disk", "a small tmpfs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where checkpoints are saved."""
    if request.param == "a small tmpfs":
        found: Path = request.getfixturevalue("small_tmpfs")
        return found
    return tmp_path


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Lend a folder in memory, where there is such a place: many files are written there."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    place = Path(tempfile.mkdtemp(prefix="dbp-disk-", dir=shared))
    yield place
    shutil.rmtree(place)


@pytest.fixture
def memory() -> Iterator[Path]:
    with folder_in_memory() as place:
        yield place
