"""Tables at a URI: ranges of a file where its format allows, else a copy of the whole.

A Parquet file is read through `open_ranges`: its footer, and the column chunks that are asked for; so is text. Whoever needs a
whole file takes one copy, a file without a name that vanishes with the process, however it ends.
"""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, cast

from dbp.data.table_file import PlacedReader, TableFile, kept_by
from dbp.errors import DataError
from dbp.storage.atomic_files import storage_error
from dbp.storage.remote import PATIENT, RemoteFolder
from dbp.storage.uris import parent_and_name, parse_uri


class RemoteFile(TableFile):
    """A file at a URI."""

    def __init__(self, uri: str, waits: tuple[float, ...] = PATIENT) -> None:
        self._uri = parse_uri(uri, web=True)
        self.path = str(self._uri)
        folder, self.name = parent_and_name(uri, web=True)
        self._folder = RemoteFolder(parse_uri(folder, web=True), waits)
        self._copy: LocalCopy | None = None
        self._made_of = (uri, waits)
        self._ranges: bool | None = None  # not asked yet

    def __reduce__(self) -> tuple[type[RemoteFile], tuple[str, tuple[float, ...]]]:
        return RemoteFile, self._made_of

    def require(self) -> None:
        """Raise DataError where it is empty, MissingFileError, StorageError."""
        if self.size() == 0:
            raise DataError(f"{self.path}: the file is empty; expected a table")

    def size(self) -> int:
        """Return its bytes. MissingFileError."""
        return self._folder.size(self.name)

    def near(self) -> list[str] | None:
        """Return the names beside it; None where they cannot be listed."""
        return None if self._uri.is_web else self._folder.names()

    def has_ranges(self) -> bool:
        """See `TableFile`."""
        if self._ranges is None:
            self._ranges = self._folder.has_ranges(self.name)
        return self._ranges

    def open_ranges(self) -> BinaryIO:
        """Return a file that asks the store for the ranges that are read. Its errors are StorageErrors."""
        if self._copy is not None or not self.has_ranges():
            return open(self.local(), "rb")
        return cast(BinaryIO, io.BufferedReader(_Ranges(self._folder, self.name), 1))

    def local(self) -> Path:
        """See `TableFile`. The first call brings the whole file here."""
        if self._copy is None:
            self._copy = LocalCopy(self._folder, self.name)
        return self._copy.path


class LocalCopy:
    """A file without a name that holds what a remote one held. `path` opens it as long as this object lives."""

    def __init__(self, folder: RemoteFolder, name: str) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="dbp-table-") as temporary:
                local = Path(temporary) / "table"
                folder.download(name, local)
                self._file = kept_by(self, open(local, "rb"))  # noqa: SIM115 -- it is this object's
        except OSError as error:
            raise storage_error("take a copy of a table", Path(tempfile.gettempdir()), error) from error
        self.path = Path(f"/proc/self/fd/{self._file.fileno()}")
        if not self.path.exists():
            raise DataError(
                f"{folder.uri}/{name}: cannot be read without /proc; expected a .parquet file, or a local one"
            )


class _Ranges(PlacedReader):
    """Reads ranges of a remote file; a failed request is made again by the folder."""

    def __init__(self, folder: RemoteFolder, name: str) -> None:
        self._folder, self._name = folder, name
        self._file: Any = folder.open(name)  # Any: fsspec has no types
        self._place = 0
        self._size = int(self._file.size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:  # Any: whatever has a buffer
        view = memoryview(buffer).cast("B")
        wanted = min(view.nbytes, max(self._size - self._place, 0))
        if not wanted:
            return 0
        data = self._folder.read_range(self._file, self._name, self._place, wanted)
        view[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
