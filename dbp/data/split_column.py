"""The one column that decides which rows are held out, read once: here, or of a large table by workers, in ranges of rows.

What comes back is small: a range's different values and a number for each of its rows, or its rows' times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dbp.data import text_scan
from dbp.data.columns import BadCells, bad_numbers, is_number, is_text, numbers, plain_labels
from dbp.data.dates import is_date, moments, says_zone
from dbp.data.many_files import ManyFiles
from dbp.data.open_table import open_table
from dbp.data.table import Table
from dbp.data.text_scan import Lookers
from dbp.errors import DataError

Codes = NDArray[np.integer[Any]]  # of the smallest type that will do
Times = NDArray[np.int64] | NDArray[np.float64]
Kind = Literal["codes", "times", "moments"]  # moments: times that know their time zone
_CELL_BYTES = 8  # about


@dataclass(frozen=True)
class Coded:
    """The values of some rows: those that are different, and for each row the place of its own among them."""

    values: list[Any]  # Any: text, numbers or dates, which can be ordered
    places: Codes  # (rows,)


@dataclass(frozen=True)
class ColumnTask:
    """Read rows [start, stop) of a column. Can be pickled; calling it does it. `learnt`: see `Table`."""

    path: str
    learnt: object | None
    name: str
    kind: Kind
    start: int
    stop: int

    def __call__(self) -> Coded | Times:
        """Return what is in the rows. DataError for a cell that cannot decide."""
        return self.read(open_table(self.path, self.learnt))

    def read(self, table: Table) -> Coded | Times:
        """Return that of an open table."""
        if self.kind == "codes":
            return _coded(table, self.name, self.start, self.stop)
        return _times(table, self.name, self.start, self.stop, self.kind == "moments")


def codes_of(table: Table, name: str, lookers: Lookers | None = None) -> Codes:
    """Return the number of each row's value among the column's sorted values (rows,). DataError."""
    known: dict[Any, int] = {}
    parts: list[tuple[Codes, Codes]] = []
    for part in _parts(table, name, "codes", lookers):
        assert isinstance(part, Coded)
        parts.append((np.array([known.setdefault(value, len(known)) for value in part.values], np.int64), part.places))
    ranks = np.empty(len(known), dtype=np.min_scalar_type(len(known)))
    ranks[[known[value] for value in sorted(known)]] = np.arange(len(known))
    codes: Codes = np.concatenate([ranks[numbers_of_values][places] for numbers_of_values, places in parts])
    return codes


def times_of(table: Table, name: str, lookers: Lookers | None = None) -> Times:
    """Return each row's time (rows,): microseconds since 1970, or the column's own numbers. DataError."""
    times: Times = np.concatenate(list(_parts(table, name, "moments" if says_zone(table, name) else "times", lookers)))
    return times


def _parts(table: Table, name: str, kind: Kind, lookers: Lookers | None) -> Iterator[Coded | Times]:
    """Yield what the ranges of the table hold, in order."""
    row_bytes = _CELL_BYTES * len(table.schema)
    if lookers is None or table.row_count * row_bytes <= text_scan.LEAST_BYTES:
        yield ColumnTask(table.path, None, name, kind, 0, table.row_count).read(table)
        return
    learnt = table.learnt()
    cuts = _cuts(table, max(text_scan.RANGE_BYTES // row_bytes, 1))
    tasks = [ColumnTask(table.path, learnt, name, kind, start, stop) for start, stop in pairwise(cuts)]
    shown, total = f"{table.path}, column {name!r}", _CELL_BYTES * table.row_count
    lookers.told(shown, 0, total)
    with closing(lookers.results(tasks)) as results:
        for task, part in zip(tasks, results, strict=True):
            lookers.told(shown, _CELL_BYTES * task.stop, total)
            yield part


def _cuts(table: Table, rows: int) -> Sequence[int]:
    """Return where ranges of about so many rows begin and end. What can only be read from its beginning is one range."""
    if table.has_ranges():
        return [*range(0, table.row_count, rows), table.row_count]
    return sorted({0, *(table.first_rows if isinstance(table, ManyFiles) else ()), table.row_count})


def _coded(table: Table, name: str, start: int, stop: int) -> Coded:
    known: dict[Any, int] = {}
    pieces, place = [], start
    for batch in table.batches(start, stop, [name]):
        column = plain_labels(batch.column(0))
        _require_whole(table, name, column, place)
        coded = column.dictionary_encode()
        places = np.array([known.setdefault(value, len(known)) for value in coded.dictionary.to_pylist()], np.int64)
        pieces.append(places[coded.indices.to_numpy(zero_copy_only=False)])
        place += batch.num_rows
    return Coded(list(known), np.concatenate(pieces).astype(np.min_scalar_type(len(known))))


def _require_whole(table: Table, name: str, column: pa.Array, place: int) -> None:
    kind = column.type
    right = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or is_text(kind)
    if not (right or pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        raise DataError(
            f"{table.path}: column {name!r} holds {kind}; expected text, numbers or dates to tell rows apart by"
        )
    empty = np.flatnonzero(np.asarray(pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)))
    if len(empty):
        cells = BadCells(len(empty), place + int(empty[0]) + 1, "missing", "a value in each row, to split rows by")
        raise DataError(f"{table.path}: {cells.describe(name)}")


def _times(table: Table, name: str, start: int, stop: int, zoned: bool) -> Times:
    pieces: list[Times] = []
    place = start
    kind = table.schema.field(name).type
    for batch in table.batches(start, stop, [name]):
        column = batch.column(0)
        rows = np.arange(place, place + batch.num_rows)
        values: Times
        if is_number(kind):
            values = numbers(column)
            bad = bad_numbers(column, values, rows)
        elif is_date(kind):
            values, missing, bad = moments(column, rows, zoned)
            if bad is None and missing.any():
                places = np.flatnonzero(missing)
                bad = BadCells(len(places), int(rows[places[0]]) + 1, "missing", "a time in each row, to split rows by")
        else:
            raise DataError(f"{table.path}: column {name!r} holds {kind}; expected dates or numbers to order rows by")
        if bad is not None:
            raise DataError(f"{table.path}: {bad.describe(name)}")
        pieces.append(values)
        place += batch.num_rows
    return cast(Times, np.concatenate(pieces))
