"""The job directory: the one place that spells its file names, makes it, finds it and locks it."""

from __future__ import annotations

import difflib
import os
import re
import secrets
import tempfile
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dbp.errors import DbpError, JobDirectoryError, StorageError
from dbp.jobs.holding import LINE_FILES, Hold, holding
from dbp.jobs.lease import Owner, claim
from dbp.jobs.lock import hold_lock
from dbp.jobs.wording import show
from dbp.jobs.working_folder import WorkingFolder
from dbp.storage.atomic_files import make_folder, make_folders, remove_leftovers, storage_error, write_bytes
from dbp.storage.mirror import Mirror
from dbp.storage.remote import BRIEF, PATIENT, Folder, LocalFolder, open_folder
from dbp.storage.uris import is_remote, is_uri, local_path, parent_and_name

if TYPE_CHECKING:
    from dbp.storage.checkpoints import CheckpointStore

MODEL_FILE = "model.safetensors"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MORE_PATIENT = (
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
)  # seconds between tries: a run in its tenth hour waits for a server that is started anew
_READERS = 16  # requests at a time

Place = str | Path  # a path, or a URI


@dataclass(frozen=True)
class JobDirectory:
    """One job's files. `path` is ``<storage>/<job id>``; where storage is a URI, a folder of this machine that stands for it.

    Then `mirror` has the URI. What is written is not there yet: `put` brings a file there and waits, `soon` does not wait.
    What is to be read is not here yet: `fetch`. For a local folder these do nothing.
    """

    path: Path
    mirror: Mirror | None = field(default=None, compare=False, repr=False)
    hold: Hold = field(default_factory=Hold, compare=False, repr=False)

    @property
    def id(self) -> str:
        """The job's id: the folder's name."""
        return self.path.name

    @property
    def place(self) -> Place:
        """Where the job is, for people: the path of its folder, or its URI."""
        return self.path if self.mirror is None else self.mirror.remote.uri

    def place_of(self, file: Path) -> Place:
        """Where one of its files is, for people."""
        return file if self.mirror is None else f"{self.mirror.remote.uri}/{self.mirror.name(file)}"

    @property
    def storage(self) -> str:
        """The folder or URI that it is in."""
        return str(self.path.parent) if self.mirror is None else self.mirror.remote.uri.rpartition("/")[0]

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
    def signals_file(self) -> Path:
        """One JSON object per recorded step, where `training.signals_every` asks for it (see `dbp.training.signals`)."""
        return self.path / "signals.jsonl"

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
        return self.path / MODEL_FILE

    @property
    def table_file(self) -> Path:
        """Of a job that stands for several runs: how far each came (see `sweep_table.py`)."""
        return self.path / "sweep.json"

    def member(self, number: int) -> JobDirectory:
        """Return the job directory of one of its runs, which may not be there yet."""
        path = self.path / "members" / f"{number:03}"
        if self.mirror is None:
            return JobDirectory(path, hold=Hold(parent=self.hold))
        remote = self.mirror.remote.child(f"members/{number:03}")
        return JobDirectory(path, _mirror(path, remote), Hold(parent=self.hold, remote=True))

    @property
    def log_file(self) -> Path:
        """The log."""
        return self.path / "log.txt"

    @property
    def lock_file(self) -> Path:
        """Locked by the process that runs the job; says which one."""
        return self.path / ".lock"

    def put(self, file: Path) -> None:
        """Have a file that was written counted as saved: it is at the URI when this returns. StorageError, LeaseLostError."""
        if self.mirror is not None:
            self.mirror.put(file)

    def soon(self, file: Path) -> None:
        """Have a file that changed brought to the URI within some seconds."""
        if self.mirror is not None:
            self.mirror.soon(file)

    def fetch(self, *files: Path) -> None:
        """Bring files here that are to be read, those that are not here yet. StorageError; nothing happens for missing ones."""
        if self.mirror is not None:
            for file in files:
                if not file.exists():
                    self.mirror.fetch(file)

    def check_lease(self) -> None:
        """Raise LeaseLostError where a newer run owns the directory. Before what counts as saved is written."""
        self.hold.check()

    def checkpoint_store(self, keep: int = 3, warn: Callable[[str], None] = lambda _: None) -> CheckpointStore:
        """Return the checkpoints; a run's own store inside `locked`, else one to read from."""
        from dbp.storage.checkpoints import CheckpointStore
        from dbp.storage.mirrored_checkpoints import MirroredCheckpoints

        if self.mirror is None:
            return CheckpointStore(self.checkpoints, keep, self.hold.check, warn)
        epoch = None if self.hold.lease is None else self.hold.lease.epoch
        return MirroredCheckpoints(self.checkpoints, keep, self.hold.check, warn, mirror=self.mirror, epoch=epoch)

    @classmethod
    def create(cls, storage: Place, job_id: str) -> JobDirectory:
        """Make an empty job directory for `job_id` below `storage` (made as well, if need be), open to its owner only.

        Raises JobDirectoryError when it exists or the id is none, StorageError when it cannot be made. Nothing is left then.
        """
        check_job_id(job_id)
        if is_remote(storage):
            return cls._create_remote(storage, job_id)
        storage = local_path(storage)
        path = storage / job_id
        try:
            make_folders(storage)
            make_folder(path, 0o700)
        except FileExistsError as error:
            if not path.is_dir():
                raise storage_error("be made", path if os.path.lexists(path) else storage, error) from error
            raise _exists(path, job_id) from error
        except OSError as error:
            raise storage_error("be made", path, error) from error
        return cls(Path(os.path.abspath(path)))

    @classmethod
    def _create_remote(cls, storage: Place, job_id: str) -> JobDirectory:
        """Claim the first epoch at once: that is what makes one of several who create it the one."""
        remote = open_folder(storage, _MORE_PATIENT).child(job_id)
        if remote.names():
            raise _exists(remote.uri, f"{job_id} --storage {storage}")
        working = WorkingFolder(remote.uri, job_id)
        try:
            lease = claim(remote, Owner(), first=True)
        except DbpError as error:
            working.remove()
            if isinstance(error, JobDirectoryError):
                raise _exists(remote.uri, f"{job_id} --storage {storage}") from error
            raise
        return cls(working.path, _mirror(working.path, remote), Hold(lease=lease, working=working, remote=True))

    @classmethod
    def open(cls, place: Place, *, to_write: bool = False) -> JobDirectory:
        """Return the job directory at a path or URI; JobDirectoryError when there is none (it must hold a job.yaml).

        `to_write`: to run it (inside `locked`). A URI that is only read is read into a folder that vanishes with this process.
        """
        if is_remote(place):
            parent, name = parent_and_name(place)
            return cls._open_remote(open_folder(parent, _MORE_PATIENT if to_write else PATIENT), name, to_write)
        path = local_path(place)
        directory = cls(Path(os.path.abspath(path)))
        if directory.job_file.is_file():
            return directory
        if not directory.path.is_dir():
            raise JobDirectoryError(
                f"{path}: {'a file' if path.exists() else 'no such folder'}; expected a job directory"
            )
        raise JobDirectoryError(f"{path}: holds no job.yaml; expected a job directory")

    @classmethod
    def _open_remote(cls, storage: Folder, name: str, to_write: bool) -> JobDirectory:
        remote = storage.child(name)
        if not remote.exists("job.yaml"):
            raise JobDirectoryError(f"{remote.uri}: holds no job.yaml; expected a job directory")
        if to_write:
            working = WorkingFolder(remote.uri, name)
            return cls(working.path, _mirror(working.path, remote), Hold(working=working, remote=True))
        return cls._to_read(remote, name)

    @classmethod
    def _to_read(cls, remote: Folder, name: str) -> JobDirectory:
        try:
            folder = tempfile.TemporaryDirectory(prefix="dbp-read-", ignore_cleanup_errors=True)
        except OSError as error:
            raise storage_error("take files to read", Path(tempfile.gettempdir()), error) from error
        path = Path(folder.name) / name
        path.mkdir()
        mirror = _mirror(path, remote)
        weakref.finalize(mirror, folder.cleanup)
        return cls(path, mirror, Hold(remote=True))

    @classmethod
    def find(cls, text: str, storage: Place) -> JobDirectory:
        """Return the job directory that `text` names: an id below `storage`, or a path or URI. It is to be read.

        Raises JobDirectoryError that suggests the nearest ids there are.
        """
        if is_uri(text):
            return cls.open(text)
        if is_remote(storage):
            folder = open_folder(storage)
            if _ID.fullmatch(text) and folder.child(text).exists("job.yaml"):
                return cls._open_remote(folder, text, to_write=False)
        else:
            storage = local_path(storage)
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
    def locked(self, *, force: bool = False, warn: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Be the only run that writes this job, inside the block; at the end everything is at the URI, if it has one.

        The kernel frees the lock however the process ends; over machines, the lease holds (see `dbp.jobs.lease`; `force` takes it
        from a holder that is known to be dead). Raises JobDirectoryError naming the holder when another has it, StorageError when
        something could not be brought to the URI, LeaseLostError when a newer run took over. Files that a killed holder left
        half-written are removed.
        """
        with hold_lock(self.lock_file):
            self._refuse_links()
            remove_leftovers(self.path)
            remove_leftovers(self.checkpoints)
            folder: Folder = LocalFolder(self.path) if self.mirror is None else self.mirror.remote
            with holding(self.hold, folder, self.mirror, force, warn):
                yield

    def _refuse_links(self) -> None:
        """Raise JobDirectoryError where a folder of the job is a link: runs would write, and remove, in some other folder.

        Files need no such look: they are replaced, or opened in a way that follows no link.
        """
        members = self.path / "members"
        inner = [] if members.is_symlink() or not members.is_dir() else [Path(each) for each in os.scandir(members)]
        for folder in (self.checkpoints, members, *inner, *(each / "checkpoints" for each in inner)):
            if folder.is_symlink():
                raise JobDirectoryError(
                    f"{folder}: a symbolic link; expected a folder. A job writes inside its own directory only: put the folder "
                    "itself in the link's place, or keep the whole job elsewhere (--storage)"
                )


def _mirror(path: Path, remote: Folder) -> Mirror:
    return Mirror(path, remote, frozenset(LINE_FILES), "status.json")


def _exists(place: Place, to_resume: str) -> JobDirectoryError:
    return JobDirectoryError(
        f"{place}: the job directory exists already; continue that job with `dbp resume {to_resume}`, "
        "or give the new one another --id"
    )


def check_job_id(text: str) -> None:
    """Raise JobDirectoryError unless `text` can be a job id: a plain name, never a path."""
    if not _ID.fullmatch(text):
        raise JobDirectoryError(
            f"{show(text)} cannot be a job id; expected 1 to 100 letters, digits, dots, - or _, the first a letter or digit"
        )


def new_job_id(name: str, storage: Place | None = None, now: datetime | None = None) -> str:
    """Return ``name-YYYYmmdd-HHMMSS`` (UTC), with -2, -3, ... where `storage` has that one already."""
    start = f"{name}-{(now or datetime.now(UTC)).strftime('%Y%m%d-%H%M%S')}"
    check_job_id(start)
    candidate, number = start, 1
    while storage is not None and job_exists(storage, candidate):
        number += 1
        candidate = f"{start}-{number}"
    return candidate


def job_exists(storage: Place, job_id: str) -> bool:
    """Whether there is anything of that name in storage."""
    if is_remote(storage):
        return bool(open_folder(storage).child(job_id).names())
    return os.path.lexists(local_path(storage) / job_id)


def list_job_directories(storage: Place) -> list[JobDirectory]:
    """Return the job directories below `storage`, by id, to be read; [] when there is none. StorageError if unreadable."""
    if is_remote(storage):
        folder = open_folder(storage)
        names = [name for name in folder.names() if _ID.fullmatch(name)]
        with ThreadPoolExecutor(_READERS) as pool:
            return [each for each in pool.map(lambda name: _listed(folder, name), names) if each is not None]
    storage = local_path(storage)
    try:
        names = sorted(os.listdir(storage))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error("be read", storage, error) from error
    directories = [JobDirectory(Path(os.path.abspath(storage / name))) for name in names if _ID.fullmatch(name)]
    return [directory for directory in directories if directory.job_file.is_file()]


def _listed(storage: Folder, name: str) -> JobDirectory | None:
    """Return a job directory with its status file here; None where it is none."""
    if not storage.child(name).exists("job.yaml"):
        return None
    directory = JobDirectory._to_read(storage.child(name), name)
    directory.fetch(directory.status_file)
    return directory


def check_storage(storage: Place) -> None:
    """Raise StorageError when no job directory could be made below `storage`. Leaves nothing behind."""
    if is_remote(storage):
        _check_remote(open_folder(storage, BRIEF))
        return
    existing = Path(os.path.abspath(local_path(storage)))
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    probe = existing / f".dbp-{secrets.token_hex(12)}.check"
    try:
        os.mkdir(probe, 0o700)
    except OSError as error:
        raise storage_error("take a job directory", local_path(storage), error) from error
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


def _check_remote(folder: Folder) -> None:
    """Write, read and remove a file: keys that may not do one of these would fail the run much later."""
    probe = f".dbp-{secrets.token_hex(12)}.check"
    data = secrets.token_hex(16).encode()
    if not folder.create(probe, data):
        raise StorageError(f"{folder.uri}: cannot take a job directory: what is written there is not what is read back")
    folder.remove(probe)
