"""A matrix as numpy writes it (.npy): what its header says, and any of its rows, read where they lie in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dbp.data.table import BATCH_ROWS
from dbp.errors import DataError

BATCH_BYTES = 16 << 20


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, whether it is kept column by column, and type of the array that begins here; the file is then at its numbers.

    Any exception means that none begins here: damaged bytes reach Python's tokenizer, with errors of its own.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, dtype = read(file)
    return shape, by_column, dtype


@dataclass(frozen=True)
class Matrix:
    """Where it is in a file: R rows of C columns."""

    rows: int
    width: int
    dtype: np.dtype[np.generic]
    by_column: bool
    offset: int

    @property
    def rows_at_once(self) -> int:
        """How many rows make a batch."""
        return min(max(BATCH_BYTES // max(self.dtype.itemsize * self.width, 1), 1), BATCH_ROWS)

    def read(
        self, file: BinaryIO, path: str, first: int, rows: int, columns: Sequence[int]
    ) -> list[NDArray[np.generic]]:
        """Return some columns (rows,) of rows from `first` on. DataError where the file ends before them."""
        if not self.by_column:
            numbers = self._numbers(file, path, first * self.width, rows * self.width)
            whole = numbers.reshape(rows, self.width)
            return [whole[:, column] for column in columns]
        return [self._numbers(file, path, column * self.rows + first, rows) for column in columns]

    def _numbers(self, file: BinaryIO, path: str, first: int, count: int) -> NDArray[np.generic]:
        file.seek(self.offset + first * self.dtype.itemsize)
        data = file.read(count * self.dtype.itemsize)
        if len(data) != count * self.dtype.itemsize:
            raise DataError(f"{path}: is shorter than its header says; has the file changed?")
        values = np.frombuffer(data, dtype=self.dtype)
        return values.astype(self.dtype.newbyteorder("="), copy=False)  # Arrow takes this machine's byte order only
