"""numpy archives: array x (n, F) and optionally y (n,) or (n, T). Columns are called x0, x1, ... and y, or y0, y1, ...

Opening one reads the archive's directory and the headers of its arrays. An array that is not compressed lies in the archive as in
a .npy file, and rows are read from where they lie; a compressed one is unpacked once by each process that reads rows of it, into
a file without a name.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import IO, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dbp.data.matrix import BATCH_BYTES, Matrix, read_header
from dbp.data.table import BATCH_ROWS
from dbp.data.table_file import TableFile, kept_by
from dbp.data.unpacked import nameless_copy
from dbp.errors import DataError

_CHUNK_BYTES = 1 << 20
_CHECKED_BYTES = 64 << 20  # an archive of more would be read twice, to find a flipped bit
_MOST_DEFLATED = 1032  # bytes that one compressed byte can stand for
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a member: the lengths of its name and of more, which follow


@dataclass(frozen=True)
class _Found:
    """What the header of a member says."""

    name: str
    member: str
    shape: tuple[int, ...]
    by_column: bool
    dtype: np.dtype[np.generic]
    offset: int  # in the archive, or in what a compressed member unpacks to
    packed: bool


@dataclass(frozen=True)
class Array:
    """One array of an archive."""

    member: str
    columns: tuple[str, ...]
    matrix: Matrix
    packed: bool


@dataclass(frozen=True)
class NpzLearnt:
    """What opening an archive found out."""

    size: int
    arrays: tuple[Array, ...]


@dataclass(frozen=True)
class ArchiveCheck:
    """Read an archive whole and compare its checksums (a `FileCheck`)."""

    source: TableFile
    weight: int  # bytes, of what it unpacks to

    @property
    def path(self) -> str:
        """See `FileCheck`."""
        return self.source.path

    def __call__(self) -> None:
        """See `FileCheck`. DataError where a checksum is not right."""
        with _archive(self.source) as (_, archive):
            _check_bytes(archive)


class NpzTable:
    """See `Table`."""

    def __init__(self, source: TableFile, learnt: NpzLearnt) -> None:
        self._source, self._learnt = source, learnt
        self.path = source.path
        self.row_count = learnt.arrays[0].matrix.rows
        self.schema = pa.schema(
            [
                (column, pa.array(np.empty(0, array.matrix.dtype.newbyteorder("="))).type)
                for array in learnt.arrays
                for column in array.columns
            ]
        )
        self._unpacked: dict[str, BinaryIO] = {}

    @classmethod
    def open(cls, source: TableFile, learnt: object | None = None) -> NpzTable:
        """Read directory and headers, unless they are `learnt`.

        DataError when arrays are missing, of wrong shapes, or hold Python objects.
        """
        if isinstance(learnt, NpzLearnt):
            source.require_size(learnt.size)
            return cls(source, learnt)
        path, found = source.path, {array.name: array for array in _found(source)}
        if "x" not in found or set(found) - {"x", "y"}:
            raise DataError(
                f"{path}: arrays {', '.join(sorted(found)) or 'none'}; expected x (rows, columns), and y for the targets"
            )
        chosen = [_array(path, found[name]) for name in ("x", "y") if name in found]
        rows = [array.matrix.rows for array in chosen]
        if rows[0] != rows[-1]:
            raise DataError(f"{path}: x has {rows[0]} rows and y has {rows[1]}; expected as many")
        return cls(source, NpzLearnt(source.size(), tuple(chosen)))

    @staticmethod
    def check(source: TableFile, learnt: NpzLearnt) -> ArchiveCheck | None:
        """Return what is to be done so that damaged bytes are found; None for a large archive."""
        size = sum(array.matrix.rows * array.matrix.width * array.matrix.dtype.itemsize for array in learnt.arrays)
        return ArchiveCheck(source, size) if size <= _CHECKED_BYTES else None

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`. DataError where a compressed array is damaged."""
        start, stop = max(start, 0), min(stop, self.row_count)
        wanted = {array: [name for name in array.columns if name in columns] for array in self._learnt.arrays}
        arrays = [array for array, names in wanted.items() if names]
        many = min((array.matrix.rows_at_once for array in arrays), default=BATCH_ROWS)
        with ExitStack() as stack:
            files = [stack.enter_context(self._open(array)) for array in arrays]
            for first in range(start, stop, many):
                rows = min(many, stop - first)
                found: dict[str, NDArray[np.generic]] = {}
                for array, file in zip(arrays, files, strict=True):
                    places = [array.columns.index(name) for name in wanted[array]]
                    values = array.matrix.read(file, self.path, first, rows, places)
                    found.update(zip(wanted[array], values, strict=True))
                yield pa.record_batch({name: np.ascontiguousarray(found[name]) for name in columns})

    def _open(self, array: Array) -> BinaryIO:
        if not array.packed:
            return self._source.open_ranges()
        if array.member not in self._unpacked:
            self._unpacked[array.member] = kept_by(self, _unpack(self._source, array))
        return open(f"/proc/self/fd/{self._unpacked[array.member].fileno()}", "rb")

    def has_ranges(self) -> bool:
        """See `Table`."""
        return self._source.has_ranges() and not any(array.packed for array in self._learnt.arrays)

    def fingerprint(self) -> str:
        """See `Table`."""
        return self._source.fingerprint()

    def learnt(self) -> NpzLearnt:
        """See `Table`."""
        return self._learnt

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """See `Table`. A batch of each array, and of its columns."""
        return 3 * BATCH_BYTES * len(self._learnt.arrays)


def _found(source: TableFile) -> list[_Found]:
    """Return what the headers of all members say. DataError."""
    with _archive(source) as (file, archive):
        return [_look_at(file, archive, entry) for entry in archive.infolist()]


@contextmanager
def _archive(source: TableFile) -> Iterator[tuple[BinaryIO, zipfile.ZipFile]]:
    """Open an archive: the file, and what is in it. DataError for whatever is found to be damaged within."""
    try:
        with source.open_ranges() as file:
            if file.read(2) != b"PK":
                raise ValueError("no zip archive")
            with zipfile.ZipFile(file) as archive:
                yield file, archive
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes reach zlib, zipfile and Python's tokenizer, each with errors of its own
        raise DataError(f"{source.path}: damaged, or no .npz archive of plain arrays ({error})") from error


def _look_at(file: BinaryIO, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _Found:
    """Return what the header of a member says. ValueError where it does not fit the member's bytes; whatever damage raises."""
    with archive.open(entry) as member:
        try:
            shape, by_column, dtype = read_header(member)
        except ValueError as error:
            raise ValueError(f"{entry.filename} is no array: {error}") from error
        offset = member.tell()
    if dtype.hasobject:
        raise ValueError(f"{entry.filename} holds Python objects")
    stated = offset + prod(shape) * dtype.itemsize
    if stated != entry.file_size:
        raise ValueError(f"{entry.filename} says it has the shape {shape}, and is {entry.file_size:,} bytes")
    packed = entry.compress_type == zipfile.ZIP_DEFLATED
    if not packed and entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{entry.filename} is compressed as numpy does not")
    begin, size = _begin(file, entry), file.seek(0, os.SEEK_END)
    room = min(entry.compress_size, size - begin) * (_MOST_DEFLATED if packed else 1)
    if stated > room:  # before memory is asked for
        raise ValueError(f"{entry.filename} says it is {stated:,} bytes, for which the file has no room")
    if not packed:
        offset += begin
    return _Found(entry.filename.removesuffix(".npy"), entry.filename, shape, by_column, dtype, offset, packed)


def _array(path: str, found: _Found) -> Array:
    """Return where an array is, and its columns: x0, x1, ...; a vector's is y. DataError for other shapes and types."""
    name, shape, dtype = found.name, found.shape, found.dtype
    if len(shape) == 1 and name == "y":
        columns = [name]
    elif len(shape) == 2 and shape[1]:
        columns = [f"{name}{column}" for column in range(shape[1])]
    else:
        expected = "(rows, columns)" if name == "x" else "(rows,) or (rows, columns)"
        raise DataError(f"{path}: {name} has shape {shape}; expected {expected}")
    if dtype.kind not in "biufU":
        raise DataError(f"{path}: {name} is of type {dtype}; expected numbers, booleans or text")
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise DataError(f"{path}: {name} is of type {dtype}; expected at most float64")
    matrix = Matrix(shape[0], len(columns), dtype, found.by_column, found.offset)
    return Array(found.member, tuple(columns), matrix, found.packed)


def _begin(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Return where a member's bytes begin in an archive."""
    file.seek(entry.header_offset)
    name, more = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return entry.header_offset + _LOCAL_HEADER.size + int(name) + int(more)


def _check_bytes(archive: zipfile.ZipFile) -> None:
    """Read all members, a piece at a time. zipfile raises an error where a checksum is not right."""
    for entry in archive.infolist():
        with archive.open(entry) as member:
            while member.read(_CHUNK_BYTES):
                pass


def _unpack(source: TableFile, array: Array) -> BinaryIO:
    needed = array.matrix.offset + array.matrix.rows * array.matrix.width * array.matrix.dtype.itemsize
    place = tempfile.gettempdir()
    if needed > (free := shutil.disk_usage(place).free):
        raise DataError(
            f"{source.path}: {array.member} unpacks to {needed:,} bytes, and {free:,} are free in {place}; set TMPDIR to a folder "
            "with room, or save it with np.savez, not np.savez_compressed"
        )
    with source.open_ranges() as file, zipfile.ZipFile(file) as archive, archive.open(array.member) as member:
        return nameless_copy(lambda: _read(source, member))


def _read(source: TableFile, member: IO[bytes]) -> bytes:
    try:
        return member.read(_CHUNK_BYTES)
    except OSError:
        raise
    except Exception as error:  # zlib's, zipfile's
        raise DataError(f"{source.path}: damaged ({error})") from error
