"""Run the real command in a process of its own, in an empty folder, without a terminal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gcs_server import _gcs_server, gcs
from s3_server import _own_working_folder, _s3_server, s3

__all__ = ["_gcs_server", "_own_working_folder", "_s3_server", "gcs", "s3"]

DBP = Path(sys.executable).with_name("dbp")


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON; NaN and Infinity, which JSON does not have, fail."""

        def refuse(name: str) -> None:
            raise ValueError(name)

        return json.loads(self.out, parse_constant=refuse)


Dbp = Callable[..., Ran]


def environment(**changes: str) -> dict[str, str]:
    """The environment of a plain shell in a pipe, of a user who knows of no service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DBP_", "PYTEST"))}
    nowhere = {"XDG_CONFIG_HOME": "/nonexistent/config", "XDG_STATE_HOME": "/nonexistent/state"}
    return {**kept, **nowhere, "COLUMNS": "100", "TERM": "xterm-256color", **changes}


@pytest.fixture
def dbp(tmp_path: Path) -> Dbp:
    """``dbp("list", "--json")`` runs it in `tmp_path`."""

    def run(*arguments: object, env: Mapping[str, str] | None = None, timeout: float = 120) -> Ran:
        done = subprocess.run(
            [DBP, *map(str, arguments)],
            cwd=tmp_path,
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def dbp_each(dbp: Dbp) -> Callable[[Sequence[Sequence[object]]], list[Ran]]:
    """``dbp_each([("list",), ("status", "x")])`` runs several, one per CPU at a time."""

    def run(commands: Sequence[Sequence[object]]) -> list[Ran]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda arguments: dbp(*arguments), commands))

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``start("run", "small.yaml")`` leaves it running; Ctrl-C reaches it.

    A test runner in a shell's background has SIGINT ignored, and children inherit that: tests of signals would pass vacuously.
    """
    started: list[subprocess.Popen[str]] = []

    def hear_ctrl_c() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run under nohup

    def run(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        settings: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "preexec_fn": hear_ctrl_c,
            **options,
        }
        command = [str(DBP), *map(str, arguments)]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(), text=True, **settings)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def write_small_job(folder: Path) -> Path:
    """Write a small job that takes a second (two classes, three features, 60 rows) and its table; return the job file."""
    lines = ["a,b,c,label"]
    for row in range(60):
        a, b = (row * 37 % 60) / 60, (row * 7 % 60) / 60
        lines.append(f"{a},{b},{a * b},{'high' if a + b > 1 else 'low'}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    path = folder / "small.yaml"
    path.write_text(
        """\
name: small
data: {train: table.csv, validation: 0.2, target: label}
task: classification
network: {hidden: [4]}
optimizer: {name: gradient_descent, learning_rate: 0.5}
training: {max_steps: 20, validate_every: 5}
workers: 0
checkpoint: {every: 5}
"""
    )
    return path


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    """The small job, in `tmp_path`."""
    return write_small_job(tmp_path)


@pytest.fixture
def job_file_in() -> Callable[[Path], Path]:
    """``job_file_in(folder)`` writes it there."""
    return write_small_job


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    command = [DBP, "run", write_small_job(folder), "--id", "a-1", "--quiet"]
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True)
    return folder


@pytest.fixture
def trained(_trained_once: Path, tmp_path: Path) -> Path:
    """The directory of a finished job "a-1" of two classes, a copy of its own for each test, with its table."""
    shutil.copytree(_trained_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "runs/a-1"
