"""Dates and times as numbers: the parts of each.

In UTC where a column knows its time zone, as they stand where it does not. Text knows it where its first value ends in Z, +02:00
or the like; all others then must, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dbp.data.column_plan import DatePart
from dbp.data.columns import BadCells, is_text
from dbp.data.table import Table

_EXPECTED = "a date such as 2026-11-25 or 2026-11-25 08:30:00, without a time zone"
_EXPECTED_ZONED = "a date with its time zone, such as 2026-11-25T08:30:00Z or 2026-11-25 08:30:00+02:00"
_ENDS_IN_ZONE = re.compile(r"[ T]\d\d.*(Z|[+-]\d\d(:?\d\d)?)\Z", re.ASCII)


def is_date(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold dates: dates, timestamps, and text in the ISO format."""
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind) or is_text(kind))


def is_zoned(kind: pa.DataType) -> bool:
    """Whether a column of this type, which is not text, knows which moments its dates are."""
    return bool(pa.types.is_timestamp(kind) and kind.tz is not None)


def says_zone(table: Table, name: str) -> bool:
    """Whether a column knows which moments its dates are. Of text the first value is read."""
    kind = table.schema.field(name).type
    if not is_text(kind):
        return is_zoned(kind)
    for batch in table.batches(0, table.row_count, [name]):
        if len(values := batch.column(0).drop_null()):
            return _ENDS_IN_ZONE.search(values[0].as_py()) is not None
    return False


def moments(
    column: pa.Array | pa.ChunkedArray, row_numbers: NDArray[np.int64], zoned: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_], BadCells | None]:
    """Return microseconds since 1970 (rows,), where none is there (rows,), and the cells that are no date.

    Cells of text are to have a time zone where it is `zoned`, and else none.
    """
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if is_text(whole.type):
        whole, bad = _parsed(whole, row_numbers, zoned)
    else:
        bad = None
    # To whole microseconds, what is finer is cut off; a zone is left out: Arrow counts from 1970 in UTC whatever the zone.
    instants = whole.cast(pa.timestamp("us", getattr(whole.type, "tz", None)), safe=False)
    missing = np.asarray(instants.is_null().to_numpy(zero_copy_only=False))
    filled = pc.fill_null(instants.cast(pa.int64()), 0)
    return np.asarray(filled.to_numpy(zero_copy_only=False), dtype=np.int64), missing, bad


def date_parts(
    column: pa.Array | pa.ChunkedArray, parts: Sequence[DatePart], row_numbers: NDArray[np.int64], zoned: bool
) -> tuple[NDArray[np.float64], BadCells | None]:
    """Return parts of dates (rows, parts) in float64, NaN where there is none; and the cells that are no date.

    weekday counts from Monday, 0; day_of_year from 1; timestamp is in seconds since 1970. `zoned`: see `moments`.
    """
    instants, missing, bad = moments(column, row_numbers, zoned)
    whole = pa.array(instants).cast(pa.timestamp("us"))
    values = np.empty((len(instants), len(parts)))
    for index, part in enumerate(parts):
        if part == "timestamp":
            values[:, index] = instants / 1e6
        elif part == "weekday":
            values[:, index] = pc.day_of_week(whole).to_numpy(zero_copy_only=False)
        else:
            values[:, index] = getattr(pc, part)(whole).to_numpy(zero_copy_only=False)
    values[missing] = np.nan
    return values, bad


def _parsed(texts: pa.Array, row_numbers: NDArray[np.int64], zoned: bool) -> tuple[pa.Array, BadCells | None]:
    """Return text as timestamps; cells that are none become missing, and are told."""
    kind, texts = pa.timestamp("us", "UTC" if zoned else None), texts.cast(pa.string())
    try:
        return texts.cast(kind), None
    except pa.ArrowException:
        pass
    # Some cell is none: which ones is found by the distinct texts, so that a whole column of words costs little.
    coded = texts.dictionary_encode()
    readable = [_read(text, kind) for text in coded.dictionary]
    found = pa.array(readable, kind).take(coded.indices)
    places = np.flatnonzero(np.asarray(pc.and_(found.is_null(), texts.is_valid()).to_numpy(zero_copy_only=False)))
    first = int(places[0])
    cells = BadCells(
        len(places),
        int(row_numbers[first]) + 1,
        repr(texts[first].as_py())[:80],
        _EXPECTED_ZONED if zoned else _EXPECTED,
    )
    return found, cells


def _read(text: pa.Scalar, kind: pa.DataType) -> object:
    try:
        return text.cast(kind).value
    except pa.ArrowException:
        return None
