"""Single columns: from Arrow to numbers or labels, and which of their cells cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dbp.data.table import ROW_NUMBERS

Label = str | int | bool
EXACT_WHOLE = 2**53  # float64 holds every whole number up to here
MOST_WHOLE = 2**63 - 1  # of labels: numpy's int64


@dataclass(frozen=True)
class BadCells:
    """Cells of one column that cannot be used: how many, and the first (row counted from 1) as text."""

    count: int
    row: int
    text: str
    expected: str

    def merged(self, other: BadCells | None) -> BadCells:
        """Return both together, in either order."""
        if other is None:
            return self
        first = min(self, other, key=lambda cells: cells.row)
        return BadCells(self.count + other.count, first.row, first.text, first.expected)

    def describe(self, column: str) -> str:
        """Return the sentence for a message."""
        more = f" ({self.count} such cells)" if self.count > 1 else ""
        return f"column {column!r}, row {self.row} ({ROW_NUMBERS}): {self.text}; expected {self.expected}{more}"


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type is taken as numbers."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def typed_where_empty(rows: pa.Table, schema: pa.Schema, names: Sequence[str]) -> pa.Table:
    """Return rows whose columns without any value have the type that `schema` has for them."""
    for name in names:
        index, kind = rows.schema.get_field_index(name), schema.field(name).type
        column = rows.column(index)
        if column.type != kind and column.null_count == len(column):
            rows = rows.set_column(index, name, pa.nulls(len(column), kind))
    return rows


def is_label(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold class labels."""
    if pa.types.is_dictionary(kind):
        return is_label(kind.value_type)
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return bool(plain or is_text(kind))


def numbers(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float64]:
    """Return a column of numbers (rows,) in float64; nulls become NaN."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_boolean(whole.type):
        whole = whole.cast(pa.uint8())
    wide = whole.cast(pa.float64(), safe=False)
    values: NDArray[np.float64] = np.asarray(wide.to_numpy(zero_copy_only=False), dtype=np.float64)
    return values


def bad_numbers(
    column: pa.Array | pa.ChunkedArray,
    values: NDArray[np.float64],
    row_numbers: NDArray[np.int64],
    least: float | None = None,
    missing_too: bool = False,
) -> BadCells | None:
    """Return the cells that are no finite number (of at least `least`), or whole numbers that float64 would round.

    Rows are counted from 1. With `missing_too`, a missing cell or NaN is as good as a number.
    """
    bad = ~np.isfinite(values)
    if missing_too:
        bad &= ~np.isnan(values)
    if least is not None:
        bad |= values < least
    if pa.types.is_integer(column.type):
        bad |= np.abs(values) > EXACT_WHOLE
    places = np.flatnonzero(bad)
    if not len(places):
        return None
    cell = column[int(places[0])].as_py()
    text = "missing" if cell is None else str(cell)
    rounded = isinstance(cell, int) and abs(cell) > EXACT_WHOLE
    expected = "a whole number within 2**53" if rounded else "a finite number"
    expected += "" if least is None else f" of at least {least:g}"
    return BadCells(len(places), int(row_numbers[places[0]]) + 1, text, expected)


def labels(
    column: pa.Array | pa.ChunkedArray, row_numbers: NDArray[np.int64]
) -> tuple[Mapping[Label, int], BadCells | None]:
    """Return how often each label occurs, and the cells that are no label."""
    plain = plain_labels(column)
    counts: Counter[Label] = Counter()
    for entry in pc.value_counts(plain).to_pylist():
        value = entry["values"]
        if value is not None and (not isinstance(value, float) or value.is_integer()):
            counts[int(value) if isinstance(value, float) else value] += entry["counts"]
    bad = pc.is_null(plain, nan_is_null=True)
    if pa.types.is_floating(plain.type):
        whole = pc.and_(pc.is_finite(plain), pc.equal(pc.floor(plain), plain))
        bad = pc.or_(bad, pc.invert(pc.fill_null(whole, False)))
    if plain.type == pa.uint64():
        bad = pc.or_(bad, pc.fill_null(pc.greater(plain, pa.scalar(MOST_WHOLE, pa.uint64())), True))
    if is_text(plain.type):
        bad = pc.or_(bad, pc.fill_null(pc.ends_with(plain, "\0"), True))  # numpy's text drops it
    places = np.flatnonzero(np.asarray(bad.to_numpy(zero_copy_only=False)))
    if not len(places):
        return counts, None
    counts = Counter({value: n for value, n in counts.items() if _is_plain(value)})
    cell = plain[int(places[0])].as_py()
    text = "missing" if cell is None else str(cell) if not isinstance(cell, str) else repr(cell)
    expected = "a class label: text, a whole number or true/false (for numbers, `task: regression`)"
    return counts, BadCells(len(places), int(row_numbers[places[0]]) + 1, text, expected)


def _is_plain(value: Label) -> bool:
    return not value.endswith("\0") if isinstance(value, str) else value <= MOST_WHOLE


def plain_labels(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a label column without dictionary encoding, views or chunks."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(whole.type):
        whole = whole.cast(whole.type.value_type)
    return (
        whole.cast(pa.string()) if pa.types.is_string_view(whole.type) else whole
    )  # which few functions of Arrow take
