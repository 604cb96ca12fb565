"""Compressed files. There are no ranges to read in one, so each process that reads rows unpacks it once.

What it unpacks to is a file without a name, which vanishes with the process, however it ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from dbp.data.table_file import TableFile
from dbp.errors import DataError
from dbp.storage.atomic_files import storage_error

_CHUNK_BYTES = 1 << 20
PACKINGS = {".gz": "gzip", ".zst": "zstd"}


class UnpackedFile(TableFile):
    """What a compressed file unpacks to. Its fingerprint is that of the compressed file."""

    def __init__(self, packed: TableFile, packing: str) -> None:
        self._packed, self._packing = packed, packing
        self.path = packed.path
        self._file: BinaryIO | None = None

    def size(self) -> int:
        """See `TableFile`."""
        return self.local().stat().st_size

    def has_ranges(self) -> bool:
        """See `TableFile`."""
        return False

    def open_ranges(self) -> BinaryIO:
        """See `TableFile`."""
        return open(self.local(), "rb")

    def local(self) -> Path:
        """See `TableFile`. DataError when the file is truncated or damaged, StorageError when there is no room for it."""
        if self._file is None:
            self._file = self._unpack()
        return Path(f"/proc/self/fd/{self._file.fileno()}")

    def fingerprint(self, edge_bytes: int | None = None) -> str:
        """See `TableFile`."""
        return self._packed.fingerprint(edge_bytes)

    def _unpack(self) -> BinaryIO:
        with self._packed.open_ranges() as packed:
            source = pa.CompressedInputStream(pa.PythonFile(packed, "r"), PACKINGS[self._packing])
            target = nameless_copy(lambda: self._read(source))
        if target.tell() == 0:
            raise DataError(f"{self.path}: unpacks to nothing; expected a table")
        return target

    def _read(self, source: pa.CompressedInputStream) -> bytes:
        try:
            return bytes(source.read(_CHUNK_BYTES))
        except (pa.ArrowException, OSError, EOFError) as error:
            words = (str(error).splitlines() or ["no reason given"])[0]
            raise DataError(
                f"{self.path}: truncated, damaged, or not compressed by {PACKINGS[self._packing]} ({words})"
            ) from error


def nameless_copy(read: Callable[[], bytes]) -> BinaryIO:
    """Return a file without a name with all that `read` returns, until it returns nothing. StorageError when there is no room."""
    try:
        target: BinaryIO = tempfile.TemporaryFile(prefix="dbp-table-")  # noqa: SIM115 -- it is the caller's
    except OSError as error:
        raise storage_error("unpack a table", Path(tempfile.gettempdir()), error) from error
    try:
        while chunk := read():
            _write(target, chunk)
        _write(target, b"")
    except BaseException:
        target.close()
        raise
    return target


def _write(target: BinaryIO, chunk: bytes) -> None:
    try:
        target.write(chunk)
        if not chunk:
            target.flush()
    except OSError as error:
        raise storage_error("unpack a table", Path(tempfile.gettempdir()), error) from error
