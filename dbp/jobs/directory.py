"""The job directory: the one place that spells its file names, makes it, finds it and locks it."""

from __future__ import annotations

import difflib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dbp.errors import DbpError, JobDirectoryError, StorageError
from dbp.jobs.lock import hold_lock
from dbp.jobs.wording import show
from dbp.storage.atomic_files import remove_leftovers, storage_error, sync_folder, write_bytes

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # one slash: pathlib folds two into one


@dataclass(frozen=True)
class JobDirectory:
    """One job's files. `path` is ``<storage>/<job id>``."""

    path: Path

    @property
    def id(self) -> str:
        """The job's id: the folder's name."""
        return self.path.name

    @property
    def job_file(self) -> Path:
        """The job as run, defaults filled in."""
        return self.path / "job.yaml"

    @property
    def status_file(self) -> Path:
        """State, step and heartbeat (see `status.py`)."""
        return self.path / "status.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON object per step (see `metrics.py`)."""
        return self.path / "metrics.jsonl"

    @property
    def environment_file(self) -> Path:
        """Versions, CPU, instructions and data fingerprint (see `environment.py`)."""
        return self.path / "environment.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints (see `dbp.storage.checkpoints`)."""
        return self.path / "checkpoints"

    @property
    def model_file(self) -> Path:
        """The result."""
        return self.path / "model.safetensors"

    @property
    def table_file(self) -> Path:
        """Of a job that stands for several runs: how far each came (see `sweep_table.py`)."""
        return self.path / "sweep.json"

    def member(self, number: int) -> JobDirectory:
        """Return the job directory of one of its runs, which may not be there yet."""
        return JobDirectory(self.path / "members" / f"{number:03}")

    @property
    def log_file(self) -> Path:
        """The log."""
        return self.path / "log.txt"

    @property
    def lock_file(self) -> Path:
        """Locked by the process that runs the job; says which one."""
        return self.path / ".lock"

    @classmethod
    def create(cls, storage: Path, job_id: str) -> JobDirectory:
        """Make an empty job directory for `job_id` below `storage` (made as well, if need be), open to its owner only.

        Raises JobDirectoryError when it exists or the id is none, StorageError when it cannot be made. Nothing is left then.
        """
        check_job_id(job_id)
        path = _local(storage) / job_id
        try:
            os.makedirs(storage, exist_ok=True)
            os.mkdir(path, 0o700)
        except FileExistsError as error:
            if not path.is_dir():
                raise storage_error("be made", path if os.path.lexists(path) else storage, error) from error
            raise JobDirectoryError(
                f"{path}: the job directory exists already; continue that job with `dbp resume {job_id}`, "
                "or give the new one another --id"
            ) from error
        except OSError as error:
            raise storage_error("be made", path, error) from error
        try:
            sync_folder(storage)
        except StorageError:
            with suppress(OSError):
                os.rmdir(path)
            raise
        return cls(Path(os.path.abspath(path)))

    @classmethod
    def open(cls, path: Path) -> JobDirectory:
        """Return the job directory at `path`; JobDirectoryError when there is none (it must hold a job.yaml)."""
        directory = cls(Path(os.path.abspath(path)))
        if directory.job_file.is_file():
            return directory
        if not directory.path.is_dir():
            raise JobDirectoryError(
                f"{path}: {'a file' if path.exists() else 'no such folder'}; expected a job directory"
            )
        raise JobDirectoryError(f"{path}: holds no job.yaml; expected a job directory")

    @classmethod
    def find(cls, text: str, storage: Path) -> JobDirectory:
        """Return the job directory that `text` names: an id below `storage`, or a path.

        Raises JobDirectoryError that suggests the nearest ids there are.
        """
        if _ID.fullmatch(text) and (found := cls(Path(os.path.abspath(storage / text)))).job_file.is_file():
            return found
        if "\0" not in text and text and (os.sep in text or text in (".", "..") or Path(text).exists()):
            return cls.open(Path(text))
        ids = [directory.id for directory in list_job_directories(storage)]
        # A job's name is the start of its ids: the newest of those, then the ones that look alike.
        near = [known for known in reversed(ids) if text and known.startswith(text)][:3]
        near += [known for known in difflib.get_close_matches(text[:200], ids, n=3, cutoff=0.5) if known not in near]
        hint = f"; did you mean {' or '.join(near[:3])}?" if near else "; `dbp list` shows the jobs there are"
        raise JobDirectoryError(f"{show(text)}: no job of that id in {storage}, and no folder of that name{hint}")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that runs this job, inside the block. The kernel frees the lock however the process ends.

        Raises JobDirectoryError naming the holder when another has it. Files that a killed holder left half-written are removed.
        """
        with hold_lock(self.lock_file):
            remove_leftovers(self.path)
            remove_leftovers(self.checkpoints)
            yield


def check_job_id(text: str) -> None:
    """Raise JobDirectoryError unless `text` can be a job id: a plain name, never a path."""
    if not _ID.fullmatch(text):
        raise JobDirectoryError(
            f"{show(text)} cannot be a job id; expected 1 to 100 letters, digits, dots, - or _, the first a letter or digit"
        )


def new_job_id(name: str, storage: Path | None = None, now: datetime | None = None) -> str:
    """Return ``name-YYYYmmdd-HHMMSS`` (UTC), with -2, -3, ... where `storage` has that one already."""
    start = f"{name}-{(now or datetime.now(UTC)).strftime('%Y%m%d-%H%M%S')}"
    check_job_id(start)
    candidate, number = start, 1
    while storage is not None and os.path.lexists(storage / candidate):
        number += 1
        candidate = f"{start}-{number}"
    return candidate


def list_job_directories(storage: Path) -> list[JobDirectory]:
    """Return the job directories below `storage`, by id; [] when there is no such folder. StorageError if unreadable."""
    try:
        names = sorted(os.listdir(_local(storage)))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error("be read", storage, error) from error
    directories = [JobDirectory(Path(os.path.abspath(storage / name))) for name in names if _ID.fullmatch(name)]
    return [directory for directory in directories if directory.job_file.is_file()]


def check_storage(storage: Path) -> None:
    """Raise StorageError when no job directory could be made below `storage`. Leaves nothing behind."""
    existing = Path(os.path.abspath(_local(storage)))
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    probe = existing / f".dbp-{secrets.token_hex(12)}.check"
    try:
        os.mkdir(probe, 0o700)
    except OSError as error:
        raise storage_error("take a job directory", storage, error) from error
    try:
        write_bytes(probe / "file", b"dbp" * 1000)  # a folder can be made on a disk that has no room for a file
    except DbpError as error:
        reason = str(error).partition(": cannot be written: ")[2]
        raise StorageError(f"{storage}: cannot take a job directory: {reason}") from error
    finally:
        with suppress(OSError):
            os.unlink(probe / "file")
        with suppress(OSError):
            os.rmdir(probe)


def _local(storage: Path) -> Path:
    if _URI.match(str(storage)):
        raise StorageError(
            f"{storage}: is a URI; expected a local folder (this version of dbp stores jobs in folders only)"
        )
    return storage
