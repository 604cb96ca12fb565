"""A numpy file: one matrix (n, C). Its columns are called x0, x1, ...; the target is one of them. Rows are read when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from dbp.data.matrix import BATCH_BYTES, Matrix, read_header
from dbp.data.table_file import TableFile
from dbp.errors import DataError


class NpyTable:
    """See `Table`."""

    def __init__(self, source: TableFile, matrix: Matrix) -> None:
        self._source, self._matrix = source, matrix
        self.path = source.path
        self.row_count = matrix.rows
        kind = pa.from_numpy_dtype(matrix.dtype.newbyteorder("="))
        self.schema = pa.schema([(f"x{column}", kind) for column in range(matrix.width)])

    @classmethod
    def open(cls, source: TableFile, learnt: object | None = None) -> NpyTable:
        """Read the header. DataError for what is no matrix of numbers or booleans, or is shorter or longer than it says."""
        path = source.path
        with source.open_ranges() as file:
            try:
                shape, by_column, dtype = read_header(file)
            except Exception as error:
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
        return cls(source, Matrix(*shape, dtype, by_column, offset))

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`."""
        start, stop = max(start, 0), min(stop, self.row_count)
        chosen = [self.schema.get_field_index(name) for name in columns]
        many = self._matrix.rows_at_once
        with self._source.open_ranges() as file:
            for first in range(start, stop, many):
                arrays = self._matrix.read(file, self.path, first, min(many, stop - first), chosen)
                yield pa.record_batch([np.ascontiguousarray(array) for array in arrays], names=list(columns))

    def has_ranges(self) -> bool:
        """See `Table`."""
        return self._source.has_ranges()

    def fingerprint(self) -> str:
        """See `Table`."""
        return self._source.fingerprint()

    def learnt(self) -> None:
        """See `Table`. The header says it all."""

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """See `Table`."""
        return 3 * BATCH_BYTES
