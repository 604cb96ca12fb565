"""A numpy file: one matrix (n, C). Its columns are called x0, x1, ...; the target is one of them. Rows are read when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dbp.data.table import BATCH_ROWS
from dbp.data.table_file import TableFile
from dbp.errors import DataError

_BATCH_BYTES = 16 << 20


class NpyTable:
    """See `Table`."""

    def __init__(
        self, source: TableFile, shape: tuple[int, int], dtype: np.dtype[np.generic], by_column: bool, offset: int
    ):
        self._source, self._dtype, self._by_column, self._offset = source, dtype, by_column, offset
        self.path = source.path
        self.row_count, self._width = shape
        kind = pa.from_numpy_dtype(dtype.newbyteorder("="))
        self.schema = pa.schema([(f"x{column}", kind) for column in range(self._width)])

    @classmethod
    def open(cls, source: TableFile, learnt: object | None = None) -> NpyTable:
        """Read the header. DataError for what is no matrix of numbers or booleans, or is shorter or longer than it says."""
        path = source.path
        with source.open_ranges() as file:
            try:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, by_column, dtype = read(file)
            except Exception as error:  # damaged bytes reach Python's tokenizer, with errors of its own
                raise DataError(f"{path}: damaged, or not a .npy file ({error})") from error
            offset = file.tell()
        if len(shape) != 2 or not shape[1]:
            raise DataError(f"{path}: has shape {shape}; expected (rows, columns)")
        if dtype.kind not in "biuf" or dtype.itemsize > 8:
            raise DataError(f"{path}: is of type {dtype}; expected numbers or booleans, at most float64")
        stated, there = offset + shape[0] * shape[1] * dtype.itemsize, source.size()
        if stated != there:
            raise DataError(
                f"{path}: is {there:,} bytes; expected {stated:,} for its shape {shape}. Is the file truncated?"
            )
        return cls(source, shape, dtype, by_column, offset)

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`."""
        start, stop = max(start, 0), min(stop, self.row_count)
        chosen = [self.schema.get_field_index(name) for name in columns]
        many = min(max(_BATCH_BYTES // (self._dtype.itemsize * self._width), 1), BATCH_ROWS)
        with self._source.open_ranges() as file:
            for first in range(start, stop, many):
                arrays = self._read(file, first, min(many, stop - first), chosen)
                yield pa.record_batch([np.ascontiguousarray(array) for array in arrays], names=list(columns))

    def _read(self, file: BinaryIO, first: int, rows: int, chosen: list[int]) -> list[NDArray[np.generic]]:
        if not self._by_column:
            whole = self._numbers(file, first * self._width, rows * self._width).reshape(rows, self._width)
            return [whole[:, column] for column in chosen]
        return [self._numbers(file, column * self.row_count + first, rows) for column in chosen]

    def _numbers(self, file: BinaryIO, first: int, count: int) -> NDArray[np.generic]:
        file.seek(self._offset + first * self._dtype.itemsize)
        data = file.read(count * self._dtype.itemsize)
        if len(data) != count * self._dtype.itemsize:
            raise DataError(f"{self.path}: is shorter than its header says; has the file changed?")
        values = np.frombuffer(data, dtype=self._dtype)
        return values.astype(self._dtype.newbyteorder("="), copy=False)  # Arrow takes this machine's byte order only

    def fingerprint(self) -> str:
        """See `Table`."""
        return self._source.fingerprint()

    def learnt(self) -> None:
        """See `Table`. The header says it all."""

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """See `Table`."""
        return 3 * _BATCH_BYTES
