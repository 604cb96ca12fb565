"""What `dbp up` writes down about the service it started on this machine, and whether that still runs.

One record per host in `$XDG_STATE_HOME/dbp` (`~/.local/state/dbp`), since many machines may share a home folder. The folder is
for its owner alone (0700): the token lies there, too.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dbp.errors import ServiceError, StorageError
from dbp.jobs.processes import Process, boot_id
from dbp.storage.atomic_files import storage_error, write_json

_FORMAT = 1


@dataclass(frozen=True)
class LocalService:
    """A service of this machine as it was started."""

    address: str  # of the jobs API, e.g. http://127.0.0.1:8265; empty while it starts
    gcs_address: str  # where Ray's own programs connect
    token_file: Path
    storage: str  # where submitted jobs leave their directories: an absolute path or a URI
    cpus: int
    keeper: Process  # the parent of all of its processes
    mark: str  # the value of DBP_LOCAL_SERVICE in the environment of its processes
    temporary: Path  # the folder that is removed when it ends
    log: Path
    boot: str  # the run of the machine it was started in
    started: str

    def runs(self) -> bool:
        """Whether it is up: its keeper, of this run of the machine, is alive."""
        return self.boot == boot_id() and self.keeper.runs()


def state_folder() -> Path:
    """Where dbp keeps what it must remember between commands: `$XDG_STATE_HOME/dbp`, by default `~/.local/state/dbp`."""
    return _base("XDG_STATE_HOME", ".local/state") / "dbp"


def config_folder() -> Path:
    """Where a person configures dbp: `$XDG_CONFIG_HOME/dbp`, by default `~/.config/dbp`."""
    return _base("XDG_CONFIG_HOME", ".config") / "dbp"


def own_folder() -> Path:
    """Return the state folder, made for its owner alone if need be. StorageError if that cannot be done."""
    folder = state_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise storage_error("be made", folder, error) from error
    return folder


def state_file() -> Path:
    """The record of this host's service."""
    return state_folder() / f"local-service-{host_name()}.json"


def token_file() -> Path:
    """The token of this host's service."""
    return state_folder() / f"local-service-{host_name()}.token"


def log_file() -> Path:
    """What this host's service says while it starts and stops."""
    return state_folder() / f"local-service-{host_name()}.log"


def host_name() -> str:
    """This machine's name as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", socket.gethostname())[:64] or "host"


def recorded_service() -> LocalService | None:
    """Return what was last recorded, whether it still runs or not; None if nothing was. StorageError if it cannot be read."""
    file = state_file()
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        failed = error if isinstance(error, OSError) else OSError(str(error))
        raise storage_error("be read", file, failed) from error
    return _read(text, file)


def running_service() -> LocalService | None:
    """Return the service of this machine, or None if none is up."""
    service = recorded_service()
    return service if service is not None and service.address and service.runs() else None


def record(service: LocalService) -> None:
    """Write down what was started. StorageError if it cannot be done."""
    own_folder()
    facts: dict[str, str | int | dict[str, int]] = {
        name: value if isinstance(value, (int, dict)) else str(value) for name, value in asdict(service).items()
    }
    write_json(state_file(), {"format": _FORMAT, **facts})


def forget() -> None:
    """Remove the record and the token. StorageError if they are there and cannot be removed."""
    for file in (state_file(), token_file()):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error("be removed", file, error) from error


def _base(variable: str, usual: str) -> Path:
    named = os.environ.get(variable, "")
    if os.path.isabs(named):  # the XDG rules: a relative path is to be ignored
        return Path(named)
    try:
        return Path.home() / usual
    except RuntimeError as error:
        raise StorageError(f"no home folder is known for this user; set HOME, or {variable} to a folder") from error


def _read(text: str, file: Path) -> LocalService:
    try:
        facts = json.loads(text)
        if not isinstance(facts, Mapping) or facts["format"] != _FORMAT:
            raise ValueError("another format")
        keeper = Process(int(facts["keeper"]["pid"]), int(facts["keeper"]["born"]))
        words = {name: str(facts[name]) for name in ("address", "gcs_address", "storage", "mark", "boot", "started")}
        paths = {name: Path(str(facts[name])) for name in ("token_file", "temporary", "log")}
        return LocalService(**words, **paths, cpus=int(facts["cpus"]), keeper=keeper)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ServiceError(
            f"{file}: not a record that this version of dbp wrote ({type(error).__name__}: {str(error)[:80]}); "
            "if no local service runs, remove the file"
        ) from error
