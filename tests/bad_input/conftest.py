"""Run `dbp` in a folder of its own, and write jobs and tables that are nearly right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bad_input.tables import write_csv

DBP = Path(sys.executable).with_name("dbp")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DBP_", "PYTEST"))},
    **dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"), "/nonexistent"),  # no service, no token of one
    "COLUMNS": "100",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str
    touched: list[Path]  # what was made, changed or removed in its folder

    def refuses(self, *words: str) -> None:
        """Check a refusal: exit code 2, one message on standard error with all the words, and no file touched."""
        assert (self.code, self.out) == (2, ""), self
        assert "Traceback" not in self.err
        assert self.err.count("error: ") == 1, self.err
        assert [word for word in words if word not in self.err] == [], self.err
        assert self.touched == []


Dbp = Callable[..., Ran]


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    # A folder's own time changes when a file in it comes and goes (the probe of the storage folder does that), and a job's
    # lock file and its lease change when they are taken, which is no harm.
    return {
        path: (path.lstat().st_mtime_ns, path.lstat().st_size) if path.is_file() else (0, 0)
        for path in folder.rglob("*")
        if path.name != ".lock" and not path.name.startswith("lease-")
    }


def _touched(before: dict[Path, tuple[int, int]], after: dict[Path, tuple[int, int]]) -> list[Path]:
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path, tuple[str, ...]], Ran]]:
    streams = tmp_path_factory.mktemp("streams")
    out, err = streams / "out", streams / "err"
    script = Path(__file__).with_name("fork_server.py")
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def run(folder: Path, arguments: tuple[str, ...]) -> Ran:
            before = _files(folder)
            request = {"arguments": arguments, "folder": str(folder), "out": str(out), "err": str(err)}
            server.stdin.write(json.dumps(request) + "\n")
            server.stdin.flush()
            code = int(server.stdout.readline())
            return Ran(code, out.read_text(), err.read_text(), _touched(before, _files(folder)))

        yield run
        server.stdin.close()


@pytest.fixture
def dbp(_server: Callable[[Path, tuple[str, ...]], Ran], tmp_path: Path) -> Dbp:
    """``dbp("run", "job.yaml")`` runs the command in `tmp_path`, in a process of its own."""
    return lambda *arguments: _server(tmp_path, tuple(map(str, arguments)))


@pytest.fixture
def installed_dbp(tmp_path: Path) -> Dbp:
    """The same by the installed script: slower, and what users run."""

    def run(*arguments: object, before: tuple[str, ...] = ()) -> Ran:
        files = _files(tmp_path)
        done = subprocess.run(
            [*before, DBP, *map(str, arguments)],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ran(done.returncode, done.stdout, done.stderr, _touched(files, _files(tmp_path)))

    return run


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A small job that runs as it stands: job.yaml and table.csv in `tmp_path`, features n and x, two classes in `label`."""
    write_csv(tmp_path / "table.csv")
    path = tmp_path / "job.yaml"
    path.write_text(
        """\
name: small
data: {train: table.csv, target: label}
task: classification
network: {hidden: [4]}
optimizer: {name: gradient_descent, learning_rate: 0.5}
training: {max_steps: 6, validate_every: 2}
workers: 0
checkpoint: {every: 2}
"""
    )
    return path
