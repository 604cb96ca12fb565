"""What is known of columns before training: a partial sum like any other, added along the same tree.

Means and spreads of two sets of rows merge by Chan, Golub & LeVeque 1979 ("Updating formulae and a pairwise algorithm for
computing sample variances"). A mean is kept as a value near it and the distance from there: close to 10^9, where float64
has steps of 10^-7, a mean in one number would be too coarse for a spread of 10^-3. The order of merging is the tree's, so
the bits belong to the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dbp.data.columns import BadCells, Label, bad_numbers, labels, numbers

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class ColumnSummary:
    """The columns of some rows. Arrays are (columns,), in the order of ``names``: features, then the targets of a regression."""

    names: tuple[str, ...]
    rows: int
    center: Vector  # one of the values
    offset: Vector  # of the mean from the center
    m2: Vector  # sum of squared deviations from the mean
    minimum: Vector
    maximum: Vector
    labels: Mapping[Label, int]  # of the target, for classification
    bad: Mapping[str, BadCells]  # by column
    largest_weight: float = 0.0  # of the column of weights, if there is one

    @property
    def mean(self) -> Vector:
        """The mean of each column."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self.center + self.offset

    def owned(self) -> ColumnSummary:
        """Return it with arrays of its own: those that lie in memory that others write to are copied."""
        arrays = {name: getattr(self, name) for name in ("center", "offset", "m2", "minimum", "maximum")}
        return replace(
            self, **{name: array if array.flags.writeable else array.copy() for name, array in arrays.items()}
        )

    def add(self, other: ColumnSummary) -> ColumnSummary:
        """Return the summary of both sets of rows."""
        rows = self.rows + other.rows
        with np.errstate(invalid="ignore", over="ignore"):
            shift = (other.center - self.center) + (other.offset - self.offset)
            offset = self.offset + shift * (other.rows / rows)
            m2 = self.m2 + other.m2 + shift * shift * (self.rows * other.rows / rows)
        bad = dict(self.bad)
        for name, cells in other.bad.items():
            bad[name] = cells.merged(bad.get(name))
        return ColumnSummary(
            names=self.names,
            rows=rows,
            center=self.center,
            offset=offset,
            m2=m2,
            minimum=np.minimum(self.minimum, other.minimum),
            maximum=np.maximum(self.maximum, other.maximum),
            labels=Counter(self.labels) + Counter(other.labels),
            bad=bad,
            largest_weight=max(self.largest_weight, other.largest_weight),
        )


def summarize(
    table: pa.Table,
    numeric: Sequence[str],
    label: str | None,
    row_numbers: NDArray[np.int64],
    weight: str | None = None,
) -> ColumnSummary:
    """Return the summary of one shard's rows (at least one); `row_numbers` are their places in the file, from 0."""
    center, offset, m2, low, high = (np.zeros(len(numeric)) for _ in range(5))
    bad: dict[str, BadCells] = {}
    for index, name in enumerate(numeric):
        column = table.column(name)
        values = numbers(column)
        cells = bad_numbers(column, values, row_numbers)
        if cells is not None:
            bad[name] = cells
            continue  # the job is refused, so its mean is of no interest
        with np.errstate(over="ignore", invalid="ignore"):
            center[index] = values[0]
            distances = values - values[0]
            offset[index] = distances.mean()
            m2[index] = np.square(distances - offset[index]).sum()
        low[index], high[index] = values.min(), values.max()
    counts: Mapping[Label, int] = {}
    if label is not None:
        counts, cells = labels(table.column(label), row_numbers)
        if cells is not None:
            bad[label] = cells
    heaviest = 0.0
    if weight is not None:
        values = numbers(table.column(weight))
        cells = bad_numbers(table.column(weight), values, row_numbers, least=0)
        if cells is not None:
            bad[weight] = cells
        heaviest = float(values.max())
    return ColumnSummary(tuple(numeric), table.num_rows, center, offset, m2, low, high, counts, bad, heaviest)
