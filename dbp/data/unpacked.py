"""Compressed files. There are no ranges to read in one, so each process that reads rows, other than the first, unpacks it once.

What it unpacks to is a file without a name, which vanishes with the process, however it ends.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from dbp.data.table_file import PlacedReader, TableFile, kept_by
from dbp.errors import DataError
from dbp.storage.atomic_files import storage_error

_CHUNK_BYTES = 1 << 20
_NEAR_BYTES = 8 << 20  # so much is unpacked again and again rather than all of it once
PACKINGS = {".gz": "gzip", ".zst": "zstd"}
TEXT_PER_BYTE = 4  # bytes of text that a compressed byte unpacks to, about


class UnpackedFile(TableFile):
    """What a compressed file unpacks to. Its fingerprint is that of the compressed file."""

    def __init__(self, packed: TableFile, packing: str) -> None:
        self.packed, self._packing = packed, packing
        self.path = packed.path
        self._file: BinaryIO | None = None
        self._expected: int | None = None

    def __reduce__(self) -> tuple[type[UnpackedFile], tuple[TableFile, str]]:
        return UnpackedFile, (self.packed, self._packing)

    def size(self) -> int:
        """See `TableFile`. It has to be unpacked for that."""
        return self.local().stat().st_size

    def require_size(self, expected: int) -> None:
        """See `TableFile`. Looked at when it is unpacked."""
        self._expected = expected
        if self._file is not None:
            super().require_size(expected)

    def has_ranges(self) -> bool:
        """See `TableFile`."""
        return False

    def open_ranges(self) -> BinaryIO:
        """See `TableFile`. Who begins to read near the beginning gets what is there as it is unpacked, else all of it is."""
        if self._file is not None:
            return open(self.local(), "rb")
        return cast(BinaryIO, io.BufferedReader(_FromBeginning(self), _CHUNK_BYTES))

    def pieces(self) -> Generator[bytes]:
        """Yield what it unpacks to, from the beginning, a mebibyte at most at a time. DataError when it is truncated or damaged."""
        with self.packed.open_ranges() as packed:
            source = pa.CompressedInputStream(pa.PythonFile(packed, "r"), PACKINGS[self._packing])
            if not (piece := self._read(source)):
                raise DataError(f"{self.path}: unpacks to nothing; expected a table")
            while piece:
                yield piece
                piece = self._read(source)

    def local(self) -> Path:
        """See `TableFile`. DataError when the file is truncated or damaged, StorageError when there is no room for it."""
        if self._file is None:
            with closing(self.pieces()) as pieces:
                self._file = kept_by(self, nameless_copy(lambda: next(pieces, b"")))
            if self._expected is not None:
                super().require_size(self._expected)
        return Path(f"/proc/self/fd/{self._file.fileno()}")

    def fingerprint(self, edge_bytes: int | None = None) -> str:
        """See `TableFile`."""
        return self.packed.fingerprint(edge_bytes)

    def _read(self, source: pa.CompressedInputStream) -> bytes:
        try:
            return bytes(source.read(_CHUNK_BYTES))
        except (pa.ArrowException, OSError, EOFError) as error:
            words = (str(error).splitlines() or ["no reason given"])[0]
            raise DataError(
                f"{self.path}: truncated, damaged, or not compressed by {PACKINGS[self._packing]} ({words})"
            ) from error


class _FromBeginning(PlacedReader):
    """Reads on from near the beginning without unpacking more than is asked for."""

    def __init__(self, source: UnpackedFile) -> None:
        self._source, self._place = source, 0
        self._pieces: Generator[bytes] | None = None
        self._rest = b""
        self._file: BinaryIO | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET:
            raise io.UnsupportedOperation("from the beginning only")
        if offset != self._place:
            self._forget()
            self._place = offset
        return offset

    def readinto(self, buffer: Any) -> int:  # Any: whatever has a buffer
        view = memoryview(buffer).cast("B")
        if self._file is None and self._pieces is None:
            self._begin()
        data = self._file.read(len(view)) if self._file is not None else self._next(len(view))
        view[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._forget()
        super().close()

    def _begin(self) -> None:
        if self._place > _NEAR_BYTES:
            self._file = open(self._source.local(), "rb")  # noqa: SIM115 -- closed with this
            self._file.seek(self._place)
            return
        self._pieces = self._source.pieces()
        left = self._place
        while left and (passed := self._next(left)):
            left -= len(passed)

    def _next(self, most: int) -> bytes:
        assert self._pieces is not None
        if not self._rest:
            self._rest = next(self._pieces, b"")
        data, self._rest = self._rest[:most], self._rest[most:]
        return data

    def _forget(self) -> None:
        if self._pieces is not None:
            self._pieces.close()
        if self._file is not None:
            self._file.close()
        self._pieces, self._file, self._rest = None, None, b""


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
