"""A folder, wherever it is: on this machine's file system, or in an object store behind a URI (fsspec).

Every operation is whole: a file is there with all its bytes or not at all. A failed request is tried again after a while
where that can help (no connection, 503), and not where it cannot (access denied, no such bucket); then it is a StorageError
in plain words. A put whose reply was lost is put again, which changes nothing; an exclusive creation whose reply was lost is
read back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

from dbp.errors import StorageError
from dbp.storage.atomic_files import atomic_path, storage_error
from dbp.storage.failures import Failure, understand
from dbp.storage.filesystems import bucket_exists, open_filesystem
from dbp.storage.folder import Folder, MissingFileError, checked_name, limited
from dbp.storage.local_folder import LocalFolder
from dbp.storage.uris import SCHEMES, Uri, is_remote, local_path, parse_uri

__all__ = ["BRIEF", "PATIENT", "Folder", "LocalFolder", "MissingFileError", "RemoteFolder", "open_folder"]

Result = TypeVar("Result")

PATIENT: tuple[float, ...] = (0.3, 1.0, 3.0)  # seconds to wait before each further try
BRIEF: tuple[float, ...] = (0.5,)  # for questions that a person waits for


def open_folder(text: str | Path, waits: Sequence[float] = PATIENT) -> Folder:
    """Return the folder that a path or URI names; nothing is asked of it yet.

    `waits` are the seconds between tries. StorageError where the URI is none, or the package that reads it is not installed.
    """
    if not is_remote(text):
        return LocalFolder(Path(os.path.abspath(local_path(text))))
    return RemoteFolder(parse_uri(text), tuple(waits))


class RemoteFolder:
    """See `Folder`."""

    def __init__(self, uri: Uri, waits: tuple[float, ...] = PATIENT) -> None:
        self._uri, self._waits = uri, waits
        self._files = open_filesystem(uri.scheme)

    @property
    def uri(self) -> str:
        """See `Folder`."""
        return str(self._uri)

    def child(self, name: str) -> RemoteFolder:
        """See `Folder`."""
        uri = self._uri
        key = "/".join(part for part in (uri.key, checked_name(name)) if part)
        return RemoteFolder(Uri(uri.scheme, uri.bucket, key), self._waits)

    def names(self) -> list[str]:
        """See `Folder`."""
        path = self._uri.path

        def listing() -> list[str]:
            try:
                entries = self._files.ls(path, detail=False)
            except FileNotFoundError:
                self._require_bucket()
                return []
            found = {str(entry).rstrip("/").rpartition("/")[2] for entry in entries if _below(path, str(entry))}
            return sorted(found)

        return self._asking("be listed", None, listing)

    def names_below(self) -> list[str]:
        """Return the names of all files below, at any depth, relative to this folder and with slashes."""
        path = self._uri.path

        def listing() -> list[str]:
            try:
                entries = self._files.find(path, detail=True)
            except FileNotFoundError:
                self._require_bucket()
                return []
            if not entries:
                self._require_bucket()
            start = path.strip("/") + "/"
            found = ((str(entry).lstrip("/"), facts) for entry, facts in entries.items() if _below(path, str(entry)))
            return sorted(
                entry.removeprefix(start)
                for entry, facts in found
                if facts.get("type") == "file" and not entry.endswith("/")
            )

        return self._asking("be listed", None, listing)

    def exists(self, name: str) -> bool:
        """See `Folder`."""
        try:
            self.size(name)
        except MissingFileError:
            return False
        return True

    def size(self, name: str) -> int:
        """See `Folder`."""
        return self._asking("be read", name, lambda: self._size(name))

    def read(self, name: str, limit: int | None = None) -> bytes:
        """See `Folder`."""

        def read() -> bytes:
            size = self._size(name)
            if limit is not None and size > limit:
                return bytes(limit + 1)
            data = bytes(self._files.cat_file(self._path(name)))
            # A file that is replaced meanwhile has another size too: then the next try reads the new one.
            _require_whole(len(data), size)
            return data

        return limited(self._shown(name), self._asking("be read", name, read), limit)

    def read_part(self, name: str, offset: int, length: int) -> bytes:
        """See `Folder`."""

        def read() -> bytes:
            end = min(self._size(name), offset + length)
            if end <= offset:
                return b""
            data = bytes(self._files.cat_file(self._path(name), start=offset, end=end))
            _require_whole(len(data), end - offset)
            return data

        return self._asking("be read", name, read)

    def write(self, name: str, data: bytes) -> None:
        """See `Folder`."""
        self._asking("be written", name, lambda: self._files.pipe_file(self._path(name), data))

    def create(self, name: str, data: bytes) -> bool:
        """See `Folder`. On S3 the request says If-None-Match, on Google's ifGenerationMatch: the store decides."""
        path = self._path(name)

        def create() -> None:
            with contextlib.suppress(FileExistsError):
                self._files.pipe_file(path, data, mode="create")

        self._asking("be made", name, create)
        return self.read(name) == data  # a request tried again meets the file that its first try made

    def upload(self, local: Path, name: str) -> None:
        """See `Folder`."""
        try:
            size = local.stat().st_size
        except OSError as error:
            raise storage_error("be read", local, error) from error

        def upload() -> None:
            self._files.put_file(str(local), self._path(name))
            _require_whole(self._size(name), size)

        self._asking("be written", name, upload)

    def download(self, name: str, local: Path) -> None:
        """See `Folder`."""

        def download() -> None:
            size = self._size(name)
            with atomic_path(local) as temporary:
                try:
                    self._files.get_file(self._path(name), str(temporary))
                    _require_whole(temporary.stat().st_size, size)
                except Exception as error:
                    if isinstance(error, OSError) and error.errno in _OF_THIS_DISK:
                        raise
                    raise _StoreFailedError(error) from error  # no OSError: that would be the local file's

        def asked() -> None:
            try:
                download()
            except _StoreFailedError as failed:
                raise failed.error from None

        self._asking("be read", name, asked)

    def remove(self, name: str) -> None:
        """See `Folder`."""

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._files.rm_file(self._path(name))

        self._asking("be removed", name, remove)

    def clear(self) -> None:
        """See `Folder`."""
        path = self._uri.path

        def clear() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._files.rm(path, recursive=True)

        if not self._uri.key:
            raise StorageError(f"{self.uri}: is a bucket; expected a folder in it")
        self._asking("be removed", None, clear)

    def has_ranges(self, name: str) -> bool:
        """Whether parts of a file can be asked for. Stores can; a web server says so."""
        if not self._uri.is_web:
            return True

        def look() -> bool:
            size = self._size(name)
            file = self._files.open(self._path(name), "rb", block_size=1 << 20, cache_type="none", size=size)
            with file, contextlib.suppress(ValueError):  # what fsspec raises where the answer is not the part asked for
                file.seek(size - 1)
                return len(file.read(1)) == 1
            return False

        return self._asking("be read", name, look)

    def open(self, name: str) -> Any:  # Any: fsspec has no types; a binary file that can be sought
        """Return a file to read ranges of. MissingFileError."""
        return self._asking(
            "be read",
            name,
            lambda: self._files.open(self._path(name), "rb", block_size=1 << 20, cache_type="readahead"),
        )

    def read_range(self, file: Any, name: str, start: int, length: int) -> bytes:  # Any: as above
        """Return `length` bytes of a file that `open` returned. Fewer are a StorageError."""

        def read() -> bytes:
            file.seek(start)
            data = bytes(file.read(length))
            _require_whole(len(data), length)
            return data

        return self._asking("be read", name, read)

    def _size(self, name: str) -> int:
        try:
            facts = self._files.info(self._path(name))
        except FileNotFoundError as error:
            if self._uri.is_web:
                raise _web_failure(error) from None
            self._require_bucket()
            raise
        if facts.get("type") == "directory":
            raise FileNotFoundError(name)
        if facts.get("size") is None:
            raise StorageError(f"{self._shown(name)}: the server does not say how large it is; expected one that does")
        return int(facts["size"])

    def _require_bucket(self) -> None:
        """Raise `_NoBucketError` where the bucket itself is what is missing."""
        if SCHEMES.get(self._uri.scheme) is None:
            return  # nothing that has to be made beforehand
        if not bucket_exists(self._files, self._uri.scheme, self._uri.bucket):
            raise _NoBucketError

    def _path(self, name: str) -> str:
        return f"{self._uri.path}/{checked_name(name)}"

    def _shown(self, name: str | None) -> str:
        return f"{self.uri}/{name}" if name else self.uri

    def _asking(self, action: str, name: str | None, ask: Callable[[], Result]) -> Result:
        if name is not None:
            checked_name(name)
        waits = list(self._waits)
        while True:
            try:
                with _LOCKS.get(self._uri.scheme, contextlib.nullcontext()):
                    return ask()
            except StorageError:
                raise
            except _NoBucketError:
                raise StorageError(
                    f"{self._shown(name)}: cannot {action}: there is no bucket {self._uri.bucket!r}; expected one that exists"
                ) from None
            except Exception as error:
                failure = understand(error, self._uri.scheme)
                if isinstance(error, FileNotFoundError):
                    if action == "be read":
                        raise MissingFileError(f"{self._shown(name)}: no such file") from None
                    failure = Failure(f"there is no bucket {self._uri.bucket!r}", False)
                if not failure.worth_trying_again or not waits:
                    tries = (
                        f" (tried {1 + len(self._waits) - len(waits)} times)" if len(waits) < len(self._waits) else ""
                    )
                    raise StorageError(f"{self._shown(name)}: cannot {action}: {failure.reason}{tries}") from error
            sleep(waits.pop(0) * random.uniform(0.7, 1.3))  # not all at once, where many wait for one server


_OF_THIS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # reading does not fill a store


class _StoreFailedError(Exception):
    """What a store's library raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


class _NoBucketError(Exception):
    """The bucket is missing."""


# fsspec's memory files share one position among all who read them.
_LOCKS = {"memory": threading.RLock()}


def _web_failure(error: FileNotFoundError) -> Exception:
    """Return why a web server gave no file. fsspec says that there is none whatever the answer was, and whether there was one."""
    cause = error.__cause__
    missing = getattr(cause, "status", None) in (404, 410)
    return cause if isinstance(cause, Exception) and not missing else error


def _below(folder: str, entry: str) -> bool:
    """Whether a listed entry is in the folder, and not the placeholder of the folder itself that some tools make."""
    return entry.strip("/") != folder.strip("/")


def _require_whole(seen: int, expected: int) -> None:
    if seen != expected:
        raise OSError(errno.EREMOTEIO, f"{seen:,} bytes of {expected:,} arrived")
