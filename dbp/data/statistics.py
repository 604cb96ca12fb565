"""What is known of columns before training: a partial sum like any other, added along the same tree.

Means and spreads of two sets of rows merge by Chan, Golub & LeVeque 1979 ("Updating formulae and a pairwise algorithm for
computing sample variances"). A mean is kept as a value near it and the distance from there: close to 10^9, where float64
has steps of 10^-7, a mean in one number would be too coarse for a spread of 10^-3. The order of merging is the tree's, so
the bits belong to the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dbp.data.column_plan import FeaturePlan, Quantity
from dbp.data.columns import BadCells, Label, bad_numbers, labels, numbers
from dbp.data.dates import date_parts
from dbp.data.medians import Points
from dbp.data.vocabulary import Vocabulary, count_classes

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class ColumnSummary:
    """The columns of some rows. Arrays are (names,), in the order of ``names``: the numbers taken from features (parts of dates
    each by itself), then the targets of a regression."""

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
    present: Vector | None = None  # rows that have a value, where columns may have missing ones; None: all rows
    points: Mapping[str, Points] = field(default_factory=dict)  # by name, where a median is asked for
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)  # by column, of categories
    labels_of: Mapping[str, Mapping[Label, int]] = field(default_factory=dict)  # by target, for several of them

    @property
    def counts(self) -> Vector:
        """How many rows each mean is of."""
        return np.full(len(self.names), float(self.rows)) if self.present is None else self.present

    @property
    def mean(self) -> Vector:
        """The mean of each column."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self.center + self.offset

    def owned(self) -> ColumnSummary:
        """Return it with arrays of its own: those that lie in memory that others write to are copied."""
        arrays = {name: getattr(self, name) for name in ("center", "offset", "m2", "minimum", "maximum")}
        return replace(
            self,
            **{name: array if array.flags.writeable else array.copy() for name, array in arrays.items()},
            present=None if self.present is None else self.present.copy(),
            points={name: points.owned() for name, points in self.points.items()},
        )

    def add(self, other: ColumnSummary) -> ColumnSummary:
        """Return the summary of both sets of rows."""
        present = None if self.present is None or other.present is None else self.present + other.present
        center, offset, m2 = self._merged_moments(other) if present is None else self._merged_where_present(other)
        bad = dict(self.bad)
        for name, cells in other.bad.items():
            bad[name] = cells.merged(bad.get(name))
        return ColumnSummary(
            names=self.names,
            rows=self.rows + other.rows,
            center=center,
            offset=offset,
            m2=m2,
            minimum=np.minimum(self.minimum, other.minimum),
            maximum=np.maximum(self.maximum, other.maximum),
            labels=Counter(self.labels) + Counter(other.labels),
            bad=bad,
            largest_weight=max(self.largest_weight, other.largest_weight),
            present=present,
            points={name: points.add(other.points[name]) for name, points in self.points.items()},
            vocabularies={name: found.add(other.vocabularies[name]) for name, found in self.vocabularies.items()},
            labels_of={name: Counter(found) + Counter(other.labels_of[name]) for name, found in self.labels_of.items()},
        )

    def _merged_moments(self, other: ColumnSummary) -> tuple[Vector, Vector, Vector]:
        rows = self.rows + other.rows
        with np.errstate(invalid="ignore", over="ignore"):
            shift = (other.center - self.center) + (other.offset - self.offset)
            offset = self.offset + shift * (other.rows / rows)
            m2 = self.m2 + other.m2 + shift * shift * (self.rows * other.rows / rows)
        return self.center, offset, m2

    def _merged_where_present(self, other: ColumnSummary) -> tuple[Vector, Vector, Vector]:
        """The same where each column has its own number of rows, perhaps none."""
        here, there = self.counts, other.counts
        only_there, rows = here == 0, np.maximum(here + there, 1)
        with np.errstate(invalid="ignore", over="ignore"):
            shift = np.where(there == 0, 0, (other.center - self.center) + (other.offset - self.offset))
            offset = self.offset + shift * (there / rows)
            m2 = self.m2 + other.m2 + shift * shift * (here * there / rows)
        return (
            np.where(only_there, other.center, self.center),
            np.where(only_there, other.offset, offset),
            np.where(only_there, other.m2, m2),
        )


def summarize(
    table: pa.Table,
    numeric: Sequence[str | Quantity],
    label: str | Sequence[str] | None,
    row_numbers: NDArray[np.int64],
    weight: str | None = None,
    categories: Sequence[FeaturePlan] = (),
    most_categories: int = 0,
) -> ColumnSummary:
    """Return the summary of one shard's rows (at least one); `row_numbers` are their places in the file, from 0.

    `numeric` are columns, or numbers taken from columns; `label` is the column of classes, or several of them. Classes of
    category columns are counted as long as there are at most `most_categories`.
    """
    quantities = [Quantity(each) if isinstance(each, str) else each for each in numeric]
    bad: dict[str, BadCells] = {}
    moments = _moments(table, quantities, row_numbers, bad)
    vocabularies = {}
    for plan in categories:
        column = table.column(plan.name)
        vocabularies[plan.name], cells = count_classes(column, row_numbers, most_categories, plan.missing_class)
        if cells is not None:
            bad[plan.name] = cells
    counts = {}
    for name in [label] if isinstance(label, str) else label or ():
        counts[name], cells = labels(table.column(name), row_numbers)
        if cells is not None:
            bad[name] = cells
    heaviest = 0.0
    if weight is not None:
        values = numbers(table.column(weight))
        cells = bad_numbers(table.column(weight), values, row_numbers, least=0)
        if cells is not None:
            bad[weight] = cells
        heaviest = float(values.max())
    one: Mapping[Label, int] = counts.pop(label) if isinstance(label, str) else {}
    return replace(moments, labels=one, bad=bad, largest_weight=heaviest, vocabularies=vocabularies, labels_of=counts)


def _moments(
    table: pa.Table, quantities: Sequence[Quantity], row_numbers: NDArray[np.int64], bad: dict[str, BadCells]
) -> ColumnSummary:
    """Return means, spreads and ranges; cells that cannot be used go to `bad`."""
    center, offset, m2, low, high = (np.zeros(len(quantities)) for _ in range(5))
    present = np.full(len(quantities), float(table.num_rows))
    points: dict[str, Points] = {}
    for index, quantity in enumerate(quantities):
        values, cells = values_of(table.column(quantity.column), quantity, row_numbers)
        if quantity.fill is not None:
            values = values[~np.isnan(values)]
            present[index] = len(values)
        if quantity.fill == "median":
            points[quantity.name] = Points.of(values[np.isfinite(values)])
        if cells is not None:
            bad[quantity.column] = cells
            continue  # the job is refused, so its mean is of no interest
        if not len(values):
            low[index], high[index] = np.inf, -np.inf
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            center[index] = values[0]
            distances = values - values[0]
            offset[index] = distances.mean()
            m2[index] = np.square(distances - offset[index]).sum()
        low[index], high[index] = values.min(), values.max()
    fills = any(quantity.fill is not None for quantity in quantities)
    names = tuple(quantity.name for quantity in quantities)
    return ColumnSummary(
        names, table.num_rows, center, offset, m2, low, high, {}, {}, 0.0, present if fills else None, points
    )


def values_of(
    column: pa.Array | pa.ChunkedArray, quantity: Quantity, row_numbers: NDArray[np.int64]
) -> tuple[Vector, BadCells | None]:
    """Return the numbers (rows,) in float64, NaN where one is missing, and the cells that cannot be used."""
    if quantity.part is None:
        values = numbers(column)
        return values, bad_numbers(column, values, row_numbers, quantity.least, missing_too=quantity.fill is not None)
    parts, cells = date_parts(column, [quantity.part], row_numbers, quantity.zoned)
    values = parts[:, 0]
    if cells is None and quantity.fill is None and np.isnan(values).any():
        places = np.flatnonzero(np.isnan(values))
        cells = BadCells(len(places), int(row_numbers[places[0]]) + 1, "missing", "a date")
    return values, cells
