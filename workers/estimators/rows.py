"""Rows that the caller holds in memory, as a source for workers: in this process, or in Ray's shared memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from dbp.data.rows import EncodedRows

if TYPE_CHECKING:
    from dbp.data.encoding import Encoding
    from dbp.sums.messages import Part


@dataclass(frozen=True, eq=False)
class Table:
    """Rows to learn from, all C-contiguous and of one precision."""

    inputs: NDArray[np.floating]  # (rows, features)
    targets: NDArray[np.floating] | NDArray[np.int32]  # (rows, outputs), or class indices (rows,)
    weights: NDArray[np.floating] | None  # (rows,): how much each counts; None: once

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.inputs)

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return sum(array.nbytes for array in (self.inputs, self.targets, self.weights) if array is not None)

    def take(self, rows: NDArray[np.int64]) -> Table:
        """Return these rows (n,), copied."""
        return Table(self.inputs[rows], self.targets[rows], None if self.weights is None else self.weights[rows])

    def weight(self, rows: NDArray[np.int64] | None = None) -> float:
        """Return how much these rows (n,) weigh together; None: all."""
        if self.weights is None:
            return float(self.rows if rows is None else len(rows))
        return float((self.weights if rows is None else self.weights[rows]).sum(dtype=np.float64))


class _Source:
    """What both kinds of source share: rows are encoded already."""

    def table(self) -> Table:
        """Return the rows."""
        raise NotImplementedError

    def summarize(self, part: Part, start: int, stop: int) -> NoReturn:
        """Refuse: nobody asks, as there are no columns to look at."""
        raise RuntimeError("rows in memory are encoded already; there are no columns to summarise")

    def encode(
        self, part: Part, start: int, stop: int, encoding: Encoding, dtype: np.dtype[np.floating]
    ) -> EncodedRows:
        """Return rows [start, stop), not copied."""
        table = self.table()
        weights = None if table.weights is None else table.weights[start:stop]
        return EncodedRows(table.inputs[start:stop], table.targets[start:stop], weights)


@dataclass(frozen=True, eq=False)
class RowsHere(_Source):
    """Rows in this process."""

    held: Table

    def __deepcopy__(self, memo: object) -> RowsHere:
        """Return this: threads read the same rows."""
        return self

    def table(self) -> Table:
        """See `_Source`."""
        return self.held


@dataclass(frozen=True, eq=False)
class RowsInRay(_Source):
    """Rows in Ray's shared memory, put there once; every worker of a machine reads them in place."""

    reference: Any  # a ray.ObjectRef of a Table

    def table(self) -> Table:
        """See `_Source`."""
        import ray  # only workers come here, and they have it loaded

        return cast(Table, ray.get(self.reference))
