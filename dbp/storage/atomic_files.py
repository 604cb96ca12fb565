"""Files of record: each appears whole or not at all. Nothing else in dbp writes one.

The protocol: a temporary file beside the target under a name nobody can foresee, a write loop, fsync, close, rename, fsync of
the folder. Only then is the file *there*. After any error the temporary file is removed and never touched again: a second
fsync of a file whose first one failed may report success for data that is lost.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from dbp.errors import StorageError

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"
Chunk: TypeAlias = bytes | bytearray | memoryview

_PREFIX = ".dbp-"  # of temporary files; short whatever the target is called, so that names of 255 bytes work
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW

_REASONS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.EDQUOT: "the disk quota is used up",
    errno.EIO: "the device reported an input/output error",
    errno.EMFILE: "this process has too many open files (see `ulimit -n`)",
    errno.ENFILE: "this machine has too many open files",
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "a folder of that name is in the way",
    errno.EEXIST: "something of that name is in the way",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "the path has too many symbolic links, or is one",
    errno.EFBIG: "the file would be larger than the limit on file sizes (see `ulimit -f`)",
    errno.ESTALE: "the network file system lost the file",
}


def storage_error(action: str, path: Path, error: OSError, needed: int | None = None) -> StorageError:
    """Return the StorageError for a failed system call, in plain words: ``<path>: cannot <action>: <reason>``.

    `needed` is the size in bytes of what was being written, told where the disk is full.
    """
    if error.errno == errno.ENOSPC:
        reason = "the disk is full" + _space(path, needed)
    elif error.errno in (errno.EACCES, errno.EPERM):
        reason = _REASONS[error.errno] + _owner(path)
    else:
        code = error.errno if error.errno is not None else 0
        reason = _REASONS.get(code) or error.strerror or str(error)
    return StorageError(f"{path}: cannot {action}: {reason}")


def _space(path: Path, needed: int | None) -> str:
    with suppress(OSError):
        facts = os.statvfs(path.parent)
        free = f"{facts.f_bavail * facts.f_frsize:,} bytes free"
        return f" ({needed:,} bytes needed, {free})" if needed is not None else f" ({free})"
    return ""


def _owner(path: Path) -> str:
    with suppress(OSError):
        facts = os.stat(path.parent)
        return f" (user {os.geteuid()}; the folder belongs to user {facts.st_uid}, mode {facts.st_mode & 0o7777:04o})"
    return f" (user {os.geteuid()})"


def write_chunks(target: Path, chunks: Iterable[Chunk], before_rename: Callable[[], None] | None = None) -> None:
    """Make `target` hold the chunks, one after the other; StorageError if it cannot be done, and then nothing changed.

    `before_rename` is called when all is safe but the name; if it raises, nothing changed either.
    """
    parts = [memoryview(chunk).cast("B") for chunk in chunks if memoryview(chunk).nbytes]  # empty views cannot be cast
    size = sum(part.nbytes for part in parts)
    with _replacing(target, size, before_rename) as (_, descriptor):
        for part in parts:
            while part.nbytes:  # a write may take less than it was given
                part = part[os.write(descriptor, part) :]


def write_bytes(target: Path, data: Chunk) -> None:
    """Make `target` hold `data`; StorageError if it cannot be done, and then nothing changed."""
    write_chunks(target, [data])


def write_text(target: Path, text: str) -> None:
    """Make `target` hold `text` in UTF-8; StorageError if it cannot be done, and then nothing changed."""
    write_chunks(target, [text.encode("utf-8")])


def write_json(target: Path, value: Json) -> None:
    """Make `target` hold `value` as JSON; StorageError if it cannot be done. ValueError for NaN and infinity: no JSON."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Lend a temporary path with the target's ending, for libraries that write to a path; it becomes `target` at the end.

    If the block raises, the temporary file is removed and `target` stays as it was. An OSError becomes a StorageError.
    """
    with _replacing(target, needed=None) as (temporary, descriptor):
        yield temporary
        # A library may have replaced the file instead of writing into it: what is at the path counts.
        if os.fstat(descriptor).st_ino != os.lstat(temporary).st_ino:
            other = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(other)
            finally:
                os.close(other)


@contextmanager
def _replacing(
    target: Path, needed: int | None, before_rename: Callable[[], None] | None = None
) -> Iterator[tuple[Path, int]]:
    """Lend a new temporary file (its path and an open descriptor); make it `target` if the block ends well."""
    temporary = target.parent / f"{_PREFIX}{secrets.token_hex(12)}.tmp{target.suffix[:32]}"
    descriptor: int | None = None
    made = False
    try:
        descriptor = os.open(temporary, _CREATE, 0o666)  # the umask decides, as for any other file of the user
        made = True
        yield temporary, descriptor
        os.fsync(descriptor)
        closing, descriptor = descriptor, None  # whatever close says, this number is not ours any more
        os.close(closing)
        if before_rename is not None:
            before_rename()
        os.replace(temporary, target)
        made = False
        _sync(target.parent)
    except OSError as error:
        raise storage_error("be written", target, error, needed) from error
    finally:
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)
        if made:
            with suppress(OSError):
                os.unlink(temporary)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` (new, renamed, removed) survive a loss of power; StorageError if it cannot be done."""
    try:
        _sync(folder)
    except OSError as error:
        raise storage_error("be made durable", folder, error) from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems know no fsync of folders; there is nothing more to ask of them.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder whose name survives a loss of power. Raises what `os.mkdir` raises; then there is no new folder.

    Where there is one already (FileExistsError) its name is made to survive as well: whoever made it may have been killed first.
    """
    made = False
    try:
        os.mkdir(folder, mode)
        made = True
    finally:
        if made or os.path.isdir(folder):
            try:
                _sync(folder.parent)
            except OSError:
                if made:
                    with suppress(OSError):
                        os.rmdir(folder)
                raise


def make_folders(folder: Path) -> None:
    """Make a folder, and those above it that are missing, so that all survive a loss of power. OSError if it cannot be done."""
    missing = []
    existing = Path(os.path.abspath(folder))
    while not os.path.lexists(existing):
        missing.append(existing)
        existing = existing.parent
    # It was there before, and what is above it may not be ours to look at: only that whoever made it may have been killed.
    with suppress(OSError):
        make_folder(existing)
    if not missing and not existing.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
    for each in reversed(missing):
        try:
            make_folder(each)
        except FileExistsError:
            if not each.is_dir():
                raise


def remove_leftovers(folder: Path) -> int:
    """Remove the temporary files that a killed process left in `folder`; return how many. StorageError if it cannot be read.

    For the holder of the job directory's lock only: anyone else could remove the file another is writing.
    """
    removed = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(_PREFIX) and ".tmp" in entry.name and entry.is_file(follow_symlinks=False):
                    with suppress(OSError):
                        os.unlink(entry.path)
                        removed += 1
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise storage_error("be read", folder, error) from error
    return removed
