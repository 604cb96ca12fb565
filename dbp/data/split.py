"""Which rows of a table are held out for validation: drawn by row, a function of (rows, share, seed) alone; or marked before.

No array as long as the table is made: how many rows each chunk of CHUNK_ROWS holds out is drawn from the
multivariate hypergeometric distribution, and which ones by a permutation of the chunk. Together that is a uniform draw of
exactly round(rows x share) rows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dbp.seeds import generator

CHUNK_ROWS = 65_536


class _Dealt:
    """A table's rows dealt into two parts, each in table order."""

    def __init__(self, rows: int, held_out: NDArray[np.int64]) -> None:
        """`held_out` is how many rows of each chunk of CHUNK_ROWS are held out (chunks,)."""
        self._rows, self._held_out = rows, held_out
        self.validation_rows = int(held_out.sum())
        self.training_rows = rows - self.validation_rows
        sizes = _chunk_sizes(rows)
        self._ends = {True: np.cumsum(held_out), False: np.cumsum(sizes - held_out)}
        self._chunk = lru_cache(maxsize=4)(self._held_out_of_chunk)

    def rows(self, held_out: bool, start: int, stop: int) -> NDArray[np.int64]:
        """Return the table's row numbers, from 0, of rows [start, stop) of a part, increasing."""
        ends = self._ends[held_out]
        pieces = []
        chunk = int(np.searchsorted(ends, start, side="right"))
        while start < stop and chunk < len(ends):
            before = int(ends[chunk - 1]) if chunk else 0
            inside = np.flatnonzero(self._chunk(chunk) == held_out) + chunk * CHUNK_ROWS
            pieces.append(inside[start - before : min(stop, int(ends[chunk])) - before])
            start = int(ends[chunk])
            chunk += 1
        return np.concatenate(pieces).astype(np.int64) if pieces else np.empty(0, dtype=np.int64)

    def _held_out_of_chunk(self, chunk: int) -> NDArray[np.bool_]:
        raise NotImplementedError


class Split(_Dealt):
    """A share of the rows, drawn. At least one row goes to each part; `rows` >= 2."""

    def __init__(self, rows: int, share: float, seed: int) -> None:
        if rows < 2 or not 0 < share < 1:
            raise ValueError(f"{rows} rows split at {share}; expected 2 rows or more and a share between 0 and 1")
        self._seed = seed
        draw = generator(seed, "validation-shares")
        wanted = min(max(round(rows * share), 1), rows - 1)
        super().__init__(rows, draw.multivariate_hypergeometric(_chunk_sizes(rows), wanted, method="marginals"))

    def _held_out_of_chunk(self, chunk: int) -> NDArray[np.bool_]:
        size = min(CHUNK_ROWS, self._rows - chunk * CHUNK_ROWS)
        mask = np.zeros(size, dtype=np.bool_)
        mask[generator(self._seed, "validation-rows", chunk).permutation(size)[: self._held_out[chunk]]] = True
        return mask


class MarkedSplit(_Dealt):
    """Rows that were chosen before, one bit for each."""

    def __init__(self, rows: int, marks: bytes) -> None:
        """`marks` are those of `pack_marks`."""
        self._bits = np.frombuffer(marks, dtype=np.uint8)
        counts = [int(self._unpacked(rows, chunk).sum()) for chunk in range(len(_chunk_sizes(rows)))]
        super().__init__(rows, np.array(counts, dtype=np.int64))

    def _unpacked(self, rows: int, chunk: int) -> NDArray[np.bool_]:
        size, first = min(CHUNK_ROWS, rows - chunk * CHUNK_ROWS), chunk * CHUNK_ROWS // 8
        return np.unpackbits(self._bits[first : first + CHUNK_ROWS // 8], count=size).astype(np.bool_)

    def _held_out_of_chunk(self, chunk: int) -> NDArray[np.bool_]:
        return self._unpacked(self._rows, chunk)


def pack_marks(held_out: NDArray[np.bool_]) -> bytes:
    """Return marks (rows,) as bits."""
    return np.packbits(held_out).tobytes()


def _chunk_sizes(rows: int) -> NDArray[np.int64]:
    return np.diff(np.append(np.arange(0, rows, CHUNK_ROWS), rows))
