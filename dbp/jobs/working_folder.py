"""The local folder in which a job is worked on that is kept at a URI.

Each run gets a new one, empty, below `working_root()`: what the run needs comes from the URI. Thus what an earlier run left
on this machine can never win over what a later run, perhaps elsewhere, wrote since. A run that ends well leaves nothing here.

A run that was killed, or could not bring its last files to the URI, leaves its folder. It is looked at by the next run of the
job on this machine, which has just claimed the next epoch. Where the folder is of the very epoch before (the token in its
origin.json is that of the lease), nobody has written the job since, and what it has beyond the URI is taken over: checkpoints
of later steps (checked like any other) and further lines of metrics and log. A folder of any other epoch, or of an earlier
job of the same name, is old news. Either way it is removed then, and the log says what was done.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from dbp.storage.atomic_files import storage_error, write_json

_OWNER = ".owner"
_ORIGIN = "origin.json"


def working_root() -> Path:
    """Return the folder of working folders: DBP_WORK_DIR, else ``dbp/work`` in the user's cache folder."""
    asked = os.environ.get("DBP_WORK_DIR")
    if asked:
        return Path(os.path.abspath(asked))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(os.path.abspath(cache)) / "dbp" / "work"


class WorkingFolder:
    """A new folder for one run of the job at `uri`; `path` is the job directory in it. It is this process's until `remove`."""

    def __init__(self, uri: str, job_id: str) -> None:
        self.uri = uri
        self._root = working_root()
        try:
            os.makedirs(self._root, mode=0o700, exist_ok=True)
            self._outer = Path(tempfile.mkdtemp(prefix=self._prefix, dir=self._root))
            # Locked as long as this process lives, however it ends: so that others see whether the folder is left over.
            self._lock = os.open(self._outer / _OWNER, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self.path = self._outer / job_id
            self.path.mkdir(0o700)
        except OSError as error:
            raise storage_error("be used as working folder (DBP_WORK_DIR names another)", self._root, error) from error

    @property
    def _prefix(self) -> str:
        return hashlib.sha256(self.uri.encode()).hexdigest()[:16] + "-"

    def note_epoch(self, token: str) -> None:
        """Write down which epoch of the job works here."""
        write_json(self._outer / _ORIGIN, {"uri": self.uri, "lease": token})

    def leftovers(self) -> list[Leftover]:
        """Return the folders that earlier runs of this job left; each is this process's until it is removed."""
        found = []
        with suppress(OSError):
            for entry in sorted(self._root.iterdir()):
                if entry.name.startswith(self._prefix) and entry != self._outer:
                    lock = _lock(entry / _OWNER)
                    if lock is not None:
                        found.append(Leftover(entry, entry / self.path.name, _token(entry / _ORIGIN), lock))
        return found

    def remove(self) -> None:
        """Remove the folder."""
        _remove(self._outer, self._lock)


class Leftover:
    """A folder that a run left behind; `lease` is the token of the epoch that it worked in, None where it does not say."""

    def __init__(self, outer: Path, path: Path, lease: str | None, lock: int) -> None:
        self._outer, self.path, self.lease, self._lock = outer, path, lease, lock

    def remove(self) -> None:
        """Remove the folder."""
        _remove(self._outer, self._lock)


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock of a folder whose process has ended; None where it lives."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _token(path: Path) -> str | None:
    try:
        token = json.loads(path.read_bytes())["lease"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return token if isinstance(token, str) else None


def _remove(outer: Path, lock: int) -> None:
    shutil.rmtree(outer, ignore_errors=True)
    with suppress(OSError):
        os.close(lock)
