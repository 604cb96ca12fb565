"""What is in a table, column by column: one pass over its rows, in batches, in the file's order.

Memory does not grow with the rows: of each column a few sums are kept, and its values' counts up to MOST_VALUES different ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dbp.data.columns import is_number, is_text, numbers, plain_labels
from dbp.data.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["number", "text", "truth", "date", "other"]
Value = str | int | float | bool
MOST_VALUES = 1000
LONGEST_TEXT = 1000  # characters of a value that is counted


@dataclass
class ColumnProfile:
    """One column of the rows looked at. Sums of squares merge by Chan, Golub & LeVeque 1979, so nothing cancels."""

    name: str
    type: str  # Arrow's
    kind: Kind
    rows: int = 0
    missing: int = 0  # nulls and NaN
    infinite: int = 0
    whole: bool = True  # numbers without a fraction
    minimum: float = math.inf  # of finite numbers
    maximum: float = -math.inf
    mean: float = 0.0
    m2: float = 0.0  # sum of squared deviations from the mean
    earliest: str | None = None  # of dates, as text
    latest: str | None = None
    counts: Counter[Value] | None = field(
        default_factory=Counter
    )  # None: more than MOST_VALUES different ones, or long ones

    @property
    def present(self) -> int:
        """The cells with a value."""
        return self.rows - self.missing

    @property
    def deviation(self) -> float:
        """The standard deviation of the finite numbers; NaN where there are none."""
        finite = self.present - self.infinite
        return math.sqrt(self.m2 / finite) if self.kind in ("number", "truth") and finite else math.nan

    @property
    def distinct(self) -> int | None:
        """How many different values there are; None for more than MOST_VALUES."""
        return None if self.counts is None else len(self.counts)

    def add(self, column: pa.Array) -> None:
        """Look at further cells."""
        import pyarrow.compute as pc

        plain = plain_labels(column)
        self.rows += len(plain)
        if self.kind in ("number", "truth"):
            self._add_numbers(plain)
        else:
            self.missing += plain.null_count
        if self.kind == "date" and plain.null_count < len(plain):
            low, high = (str(pc.min_max(plain)[end].as_py()) for end in ("min", "max"))
            self.earliest = low if self.earliest is None else min(self.earliest, low)
            self.latest = high if self.latest is None else max(self.latest, high)
        self._count(plain)

    def _add_numbers(self, plain: pa.Array) -> None:
        values = numbers(plain)
        finite = values[np.isfinite(values)]
        missing = int(np.isnan(values).sum())
        self.missing += missing
        self.infinite += len(values) - len(finite) - missing
        if not len(finite):
            return
        self.whole = self.whole and bool((finite == np.floor(finite)).all())
        self.minimum = min(self.minimum, float(finite.min()))
        self.maximum = max(self.maximum, float(finite.max()))
        after = self.rows - self.missing - self.infinite
        with np.errstate(over="ignore", invalid="ignore"):  # numbers near float64's limits: an infinite spread
            mean = finite.mean()
            shift, share = mean - self.mean, len(finite) / after
            self.m2 += float(np.square(finite - mean).sum() + shift * shift * ((after - len(finite)) * share))
            self.mean += float(shift * share)

    def _count(self, plain: pa.Array) -> None:
        import pyarrow.compute as pc

        if self.counts is None or self.kind == "other":
            self.counts = None
            return
        values = plain.drop_null()
        if self.kind == "text" and len(values) and pc.max(pc.utf8_length(values)).as_py() > LONGEST_TEXT:
            self.counts = None
            return
        found = pc.value_counts(values)
        if len(found) > 2 * MOST_VALUES:
            self.counts = None
            return
        for entry in found.to_pylist():
            if entry["values"] == entry["values"]:  # no NaN
                value = entry["values"] if self.kind != "date" else str(entry["values"])
                self.counts[value] += entry["counts"]
        if len(self.counts) > MOST_VALUES:
            self.counts = None

    def frequent(self, most: int) -> list[tuple[Value, int]]:
        """Return the most frequent values and how often they occur. [] where not all are known."""
        if self.counts is None:
            return []
        return sorted(self.counts.items(), key=lambda item: (-item[1], str(item[0])))[:most]

    def to_json(self) -> dict[str, Any]:  # Any: plain JSON values
        """Return it as plain values: what makes no sense for the kind of column is left out."""
        found: dict[str, Any] = {"name": self.name, "type": self.type, "kind": self.kind, "missing": self.missing}
        found["distinct"] = self.distinct
        if self.kind in ("number", "truth") and self.present > self.infinite:
            found |= {"minimum": self.minimum, "maximum": self.maximum, "mean": self.mean, "deviation": self.deviation}
            found |= {"whole": self.whole, "infinite": self.infinite}
        if self.kind == "date":
            found |= {"earliest": self.earliest, "latest": self.latest}
        if self.counts is not None and self.kind in ("text", "truth"):
            found["values"] = [{"value": value, "rows": count} for value, count in self.frequent(10)]
        return found


@dataclass(frozen=True)
class Profile:
    """A table as it was looked at."""

    path: str
    table_rows: int
    rows: int  # that were looked at
    columns: tuple[ColumnProfile, ...]

    def column(self, name: str) -> ColumnProfile:
        """Return a column by name; KeyError."""
        return {each.name: each for each in self.columns}[name]


def profile_table(
    table: Table, rows: int | None = None, progress: Callable[[int, int], None] = lambda done, of: None
) -> Profile:
    """Look at the first `rows` rows of a table (all by default). `progress` hears how many are done, and of how many.

    DataError for a file that is damaged.
    """
    wanted = table.row_count if rows is None else min(rows, table.row_count)
    names = table.schema.names
    columns = tuple(ColumnProfile(each.name, _type(each.type), _kind(each.type)) for each in table.schema)
    done = 0
    for batch in table.batches(0, wanted, names):
        for column in columns:
            column.add(batch.column(column.name))
        done += batch.num_rows
        progress(done, wanted)
    return Profile(table.path, table.row_count, wanted, columns)


def _kind(type_: pa.DataType) -> Kind:
    import pyarrow as pa

    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    if pa.types.is_boolean(plain):
        return "truth"
    if is_number(plain):
        return "number"
    if is_text(plain):
        return "text"
    return "date" if pa.types.is_date(plain) or pa.types.is_timestamp(plain) else "other"


def _type(type_: pa.DataType) -> str:
    import pyarrow as pa

    return f"{type_.value_type} (dictionary)" if pa.types.is_dictionary(type_) else str(type_)
