"""numpy archives: array x (n, F) and optionally y (n,) or (n, T). Columns are called x0, x1, ... and y, or y0, y1, ..."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dbp.data.table import BATCH_ROWS, file_fingerprint
from dbp.errors import DataError

if TYPE_CHECKING:
    from dbp.data.remote_file import LocalCopy, RemoteFile


class NpzTable:
    """See `Table`. The arrays are read into memory when opened: an archive cannot be read in parts."""

    def __init__(self, place: Path, path: str, columns: dict[str, NDArray[np.generic]]) -> None:
        self._place = place
        self.path = path
        self._columns = columns
        self.copy: LocalCopy | None = None  # which the place opens, of a table at a URI
        self.row_count = len(next(iter(columns.values())))
        self.schema = pa.schema([(name, pa.array(values[:0]).type) for name, values in columns.items()])

    @classmethod
    def open_remote(cls, file: RemoteFile) -> NpzTable:
        """Take a copy of the file and read that. See `open`."""
        copy = file.copy()
        table = cls.open(copy.path, file.uri)
        table.copy = copy
        return table

    @classmethod
    def open(cls, place: Path, path: str) -> NpzTable:
        """Read the arrays. DataError when they are missing, of wrong shapes, or hold Python objects."""
        arrays = _arrays(place, path)
        if "x" not in arrays or set(arrays) - {"x", "y"}:
            raise DataError(
                f"{path}: arrays {', '.join(sorted(arrays)) or 'none'}; expected x (rows, columns), and y for the targets"
            )
        columns = _matrix_columns(path, "x", arrays["x"], always_numbered=True)
        if "y" in arrays:
            columns |= _matrix_columns(path, "y", arrays["y"], always_numbered=False)
            if len(arrays["y"]) != len(arrays["x"]):
                raise DataError(f"{path}: x has {len(arrays['x'])} rows and y has {len(arrays['y'])}; expected as many")
        return cls(place, path, columns)

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`."""
        for first in range(max(start, 0), min(stop, self.row_count), BATCH_ROWS):
            rows = slice(first, min(first + BATCH_ROWS, stop, self.row_count))
            yield pa.record_batch({name: np.ascontiguousarray(self._columns[name][rows]) for name in columns})

    def fingerprint(self) -> str:
        """See `Table`."""
        return file_fingerprint(self._place)

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """See `Table`. All arrays are in memory."""
        return sum(values.nbytes for values in self._columns.values())


def _arrays(place: Path, path: str) -> dict[str, NDArray[np.generic]]:
    try:
        with open(place, "rb") as file:
            if file.read(2) != b"PK":
                raise ValueError("no zip archive")
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


def _matrix_columns(
    path: str, name: str, array: NDArray[np.generic], always_numbered: bool
) -> dict[str, NDArray[np.generic]]:
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
