"""Which rows are held out for validation where a column decides: whole groups, the latest rows, or a share of each class.

The process that opens the tables reads that one column once, and marks each row with a bit; the marks go to the workers with the
dataset. They depend on the column, the share and the seed alone.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dbp.data.column_plan import SplitRule
from dbp.data.columns import BadCells, bad_numbers, is_number, is_text, numbers, plain_labels
from dbp.data.dates import is_date, moments
from dbp.data.table import Table
from dbp.errors import DataError
from dbp.seeds import generator

Codes = NDArray[np.int64]
Marks = NDArray[np.bool_]


def marks(table: Table, rule: SplitRule, target: str, share: float, seed: int) -> Marks:
    """Return for each row of a table (at least two) whether it is held out (rows,). DataError for a column that cannot decide."""
    column = rule.column or target
    if rule.by == "time":
        return latest(_times(table, column), share, f"{table.path}: data.validation_split.time: column {column!r}")
    codes = _codes(table, column)
    if rule.by == "group":
        return groups(codes, share, seed, f"{table.path}: data.validation_split.group: column {column!r}")
    return stratified(codes, share, seed)


def wanted_rows(rows: int, share: float) -> int:
    """Return how many of `rows` >= 2 rows a share is: at least one, and not all."""
    return min(max(round(rows * share), 1), rows - 1)


def groups(codes: Codes, share: float, seed: int, where: str) -> Marks:
    """Hold out whole groups, in an order drawn from the seed, as long as each brings the number of rows nearer to the share.

    `codes` (rows,) number the groups from 0, without gaps. At least one group goes to each part.
    """
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        raise DataError(f"{where} has one group only; expected two or more, so that one can be held out")
    wanted, held = wanted_rows(len(codes), share), 0
    taken: list[int] = []
    for group in generator(seed, "validation-groups").permutation(len(sizes)).tolist():
        if abs(held + int(sizes[group]) - wanted) < abs(held - wanted) and len(taken) < len(sizes) - 1:
            taken.append(group)
            held += int(sizes[group])
    if not taken:  # every group is more than twice the share
        taken = [int(np.argmin(sizes))]
    chosen = np.zeros(len(sizes), dtype=np.bool_)
    chosen[taken] = True
    return chosen[codes]


def latest(times: Codes | NDArray[np.float64], share: float, where: str) -> Marks:
    """Hold out the latest rows; rows of the same time stay together, on the side that comes nearer to the share."""
    different, counts = np.unique(times, return_counts=True)
    if len(different) < 2:
        raise DataError(f"{where} has one time only; expected two or more, so that the latest can be held out")
    later = len(times) - np.cumsum(counts)[:-1]  # rows after each time but the last
    nearest = np.argmin(np.abs(later - wanted_rows(len(times), share)))
    held: Marks = times > different[nearest]
    return held


def stratified(codes: Codes, share: float, seed: int) -> Marks:
    """Hold out the share of each class, to the nearest row that makes the total right; a class keeps one row to learn from.

    `codes` (rows,) number the classes from 0, in order.
    """
    sizes = np.bincount(codes)
    exact = sizes * share
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")  # largest remainder first; equal ones by class
    more = wanted_rows(len(codes), share) - int(counts.sum())
    for label in order[: max(more, 0)].tolist():
        counts[label] += 1
    counts = np.minimum(counts, sizes - 1)
    if not counts.any():
        largest = int(np.argmax(sizes))
        counts[largest] = min(1, sizes[largest] - 1)
    held = np.zeros(len(codes), dtype=np.bool_)
    for label, count in enumerate(counts.tolist()):
        if count:
            rows = np.flatnonzero(codes == label)
            held[generator(seed, "validation-class", label).permutation(rows)[:count]] = True
    return held


def _codes(table: Table, name: str) -> Codes:
    """Return the number of each row's value among the column's sorted values (rows,)."""
    known: dict[object, int] = {}
    pieces, place = [], 0
    for batch in table.batches(0, table.row_count, [name]):
        column = plain_labels(batch.column(0))
        _require_whole(table, name, column, place)
        coded = column.dictionary_encode()
        numbers_of_piece = np.array([known.setdefault(value, len(known)) for value in coded.dictionary.to_pylist()])
        pieces.append(numbers_of_piece.astype(np.int64)[coded.indices.to_numpy(zero_copy_only=False)])
        place += batch.num_rows
    codes = np.concatenate(pieces)
    ranks = np.empty(len(known), dtype=np.int64)
    ranks[[known[value] for value in sorted(known)]] = np.arange(len(known))  # type: ignore[type-var]
    result: Codes = ranks[codes]
    return result


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


def _times(table: Table, name: str) -> Codes | NDArray[np.float64]:
    """Return each row's time (rows,): microseconds since 1970, or the column's own numbers."""
    pieces: list[Codes | NDArray[np.float64]] = []
    place = 0
    kind = table.schema.field(name).type
    for batch in table.batches(0, table.row_count, [name]):
        column = batch.column(0)
        rows = np.arange(place, place + batch.num_rows)
        values: Codes | NDArray[np.float64]
        if is_number(kind):
            values = numbers(column)
            bad = bad_numbers(column, values, rows)
        elif is_date(kind):
            values, missing, bad = moments(column, rows)
            if bad is None and missing.any():
                places = np.flatnonzero(missing)
                bad = BadCells(len(places), int(rows[places[0]]) + 1, "missing", "a time in each row, to split rows by")
        else:
            raise DataError(f"{table.path}: column {name!r} holds {kind}; expected dates or numbers to order rows by")
        if bad is not None:
            raise DataError(f"{table.path}: {bad.describe(name)}")
        pieces.append(values)
        place += batch.num_rows
    return cast("Codes | NDArray[np.float64]", np.concatenate(pieces))
