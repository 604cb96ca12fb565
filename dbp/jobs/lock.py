"""One process per job: a lock that the kernel frees when its holder ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dbp.errors import JobDirectoryError
from dbp.jobs.clock import utc_now
from dbp.storage.atomic_files import storage_error


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock at `path` (a file, made if need be) inside the block.

    Raises JobDirectoryError naming the holder when another process, or another part of this one, has it; StorageError when
    the file system gives no locks. The file stays: removing it would let two processes lock two files of one name.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise storage_error("be opened", path, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise JobDirectoryError(
                    f"{path.parent}: in use by {_holder(descriptor)}; one process at a time"
                ) from None
            raise storage_error("be locked", path, error) from error
        _write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": utc_now()}))
        yield
        _write(descriptor, "")
    finally:
        with suppress(OSError):  # the lock is free, whatever close says
            os.close(descriptor)


def _write(descriptor: int, text: str) -> None:
    # Only a help for people: the lock itself holds without it, on a full disk too.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        facts = json.loads(os.pread(descriptor, 4096, 0))
        return f"pid {int(facts['pid'])} on host {str(facts['host'])[:80]} since {str(facts['since'])[:40]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
