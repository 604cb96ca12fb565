"""One local service for all tests of a session that need one: `dbp up` as a user runs it, away from the user's own home folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

DBP = Path(sys.executable).with_name("dbp")


@dataclass(frozen=True)
class RunningService:
    """A service that is up."""

    address: str
    token_file: Path
    storage: Path
    folder: Path  # the home folder that it was started with
    environment: Mapping[str, str]  # for processes that shall find it (HOME and XDG folders of its own)

    @property
    def token(self) -> str:
        return self.token_file.read_text()

    @property
    def state_file(self) -> Path:
        (found,) = (self.folder / "state" / "dbp").glob("local-service-*.json")
        return found

    @property
    def record(self):
        """What `dbp up` wrote down, as `dbp.jobs.local_service.LocalService`."""
        from dbp.jobs import local_service

        return local_service._read(self.state_file.read_text(), self.state_file)

    def run(self, *arguments: object, **options) -> subprocess.CompletedProcess[str]:
        """Run `dbp` with arguments, as a user of the service."""
        return dbp_in(self.folder, *arguments, **options)

    def python(self, code: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python code in a process of its own, as a user of the service."""
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )


def home_environment(folder: Path, **changes: str) -> dict[str, str]:
    """The environment of a user whose home is `folder`, and who knows of no cluster."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DBP_", "PYTEST", "XDG_"))
    }
    homes = {"HOME": folder, "XDG_STATE_HOME": folder / "state", "XDG_CONFIG_HOME": folder / "config"}
    return {**kept, **{name: str(path) for name, path in homes.items()}, "COLUMNS": "100", **changes}


def dbp_in(
    folder: Path, *arguments: object, timeout: float = 240, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `dbp` with arguments in `folder`, which is its home folder, too."""
    return subprocess.run(
        [DBP, *map(str, arguments)],
        cwd=folder,
        env=home_environment(folder, **environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def start_service(folder: Path, *options: object, **environment: str) -> RunningService:
    """Run `dbp up` in `folder`; jobs have its environment, too."""
    done = dbp_in(folder, "up", "--json", *options, **environment)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    return RunningService(
        address=facts["address"],
        token_file=Path(facts["token_file"]),
        storage=Path(facts["storage"]),
        folder=folder,
        environment=home_environment(folder),
    )


@pytest.fixture(scope="session")
def local_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Start it once, with 2 CPUs. Tests must not stop it."""
    folder = tmp_path_factory.mktemp("service")
    try:
        yield start_service(folder, "--cpus", 2)
    finally:
        done = dbp_in(folder, "down", "--wait", 0)
        assert done.returncode == 0, done.stderr
