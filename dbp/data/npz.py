"""numpy archives: array x (n, F) and optionally y (n,) or (n, T). Columns are called x0, x1, ... and y, or y0, y1, ..."""

from __future__ import annotations

import os
import resource
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dbp.data.table import BATCH_ROWS
from dbp.data.table_file import TableFile
from dbp.errors import DataError


class NpzTable:
    """See `Table`. The arrays are read into memory when opened: an archive cannot be read in parts."""

    def __init__(self, source: TableFile, columns: dict[str, NDArray[np.generic]]) -> None:
        self._source = source
        self.path = source.path
        self._columns = columns
        self.row_count = len(next(iter(columns.values())))
        self.schema = pa.schema([(name, pa.array(values[:0]).type) for name, values in columns.items()])

    @classmethod
    def open(cls, source: TableFile, learnt: object | None = None) -> NpzTable:
        """Read the arrays. DataError when they are missing, of wrong shapes, or hold Python objects."""
        path = source.path
        arrays = _arrays(source.local(), path)
        if "x" not in arrays or set(arrays) - {"x", "y"}:
            raise DataError(
                f"{path}: arrays {', '.join(sorted(arrays)) or 'none'}; expected x (rows, columns), and y for the targets"
            )
        columns = matrix_columns(path, "x", arrays["x"], always_numbered=True)
        if "y" in arrays:
            columns |= matrix_columns(path, "y", arrays["y"], always_numbered=False)
            if len(arrays["y"]) != len(arrays["x"]):
                raise DataError(f"{path}: x has {len(arrays['x'])} rows and y has {len(arrays['y'])}; expected as many")
        return cls(source, columns)

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`."""
        for first in range(max(start, 0), min(stop, self.row_count), BATCH_ROWS):
            rows = slice(first, min(first + BATCH_ROWS, stop, self.row_count))
            yield pa.record_batch({name: np.ascontiguousarray(self._columns[name][rows]) for name in columns})

    def fingerprint(self) -> str:
        """See `Table`."""
        return self._source.fingerprint()

    def learnt(self) -> None:
        """See `Table`. An archive is read whole by whoever needs a row of it."""

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """See `Table`. All arrays are in memory."""
        return sum(values.nbytes for values in self._columns.values())


def _arrays(place: Path, path: str) -> dict[str, NDArray[np.generic]]:
    try:
        with open(place, "rb") as file:
            if file.read(2) != b"PK":
                raise ValueError("no zip archive")
        _check_sizes(place)
        with np.load(place, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        odd = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
        if odd:
            raise ValueError(f"{odd[0]} is no array")
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes reach zlib, zipfile and Python's tokenizer, each with errors of its own
        raise DataError(f"{path}: damaged, or no .npz archive of plain arrays ({error})") from error
    return arrays


def _check_sizes(place: Path) -> None:
    """Raise ValueError where the archive says that it unpacks to more than there is memory for, or an array to more than it holds.

    A megabyte can unpack to a gigabyte: no memory is asked for before this is known.
    """
    with zipfile.ZipFile(place) as archive:
        stated = sum(entry.file_size for entry in archive.infolist())
        if stated > (most := _memory()):
            raise ValueError(f"it unpacks to {stated:,} bytes, and {most:,} are free")
        for entry in archive.infolist():
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                if prod(shape) * dtype.itemsize > entry.file_size:
                    raise ValueError(
                        f"{entry.filename} says it has the shape {shape}, and is {entry.file_size:,} bytes"
                    )


def _memory() -> int:
    """Return the bytes of memory that this process may still ask for, as /proc says: it knows no container's limit."""
    limits = [limit for limit in resource.getrlimit(resource.RLIMIT_AS) if limit != resource.RLIM_INFINITY]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits.append(next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")))
    return min(limits, default=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def matrix_columns(
    path: str, name: str, array: NDArray[np.generic], always_numbered: bool
) -> dict[str, NDArray[np.generic]]:
    """Return the columns of an array by their names: x0, x1, ...; a vector's is `name`. DataError for other shapes and types."""
    if array.ndim == 1 and not always_numbered:
        array = array[:, None]
        names = [name]
    elif array.ndim == 2 and array.shape[1]:
        names = [f"{name}{column}" for column in range(array.shape[1])]
    else:
        expected = "(rows, columns)" if always_numbered else "(rows,) or (rows, columns)"
        raise DataError(f"{path}: {name} has shape {array.shape}; expected {expected}")
    if array.dtype.kind not in "biufU":
        raise DataError(f"{path}: {name} is of type {array.dtype}; expected numbers, booleans or text")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise DataError(f"{path}: {name} is of type {array.dtype}; expected at most float64")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # Arrow takes this machine's byte order only
    return dict(zip(names, array.T, strict=True))
