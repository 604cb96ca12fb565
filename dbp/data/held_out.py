"""Which rows are held out for validation where a column decides: whole groups, the latest rows, or a share of each class.

That one column is read once (`split_column`). The process that opens the tables marks each row with a bit; the marks go to the
workers with the dataset. They depend on the column, the share and the seed alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dbp.data.column_plan import SplitRule
from dbp.data.split_column import Codes, Times, codes_of, times_of
from dbp.data.table import Table
from dbp.data.text_scan import Lookers
from dbp.errors import DataError
from dbp.seeds import generator

Marks = NDArray[np.bool_]
_PIECE_ROWS = 1 << 20


def marks(table: Table, rule: SplitRule, target: str, share: float, seed: int, lookers: Lookers | None = None) -> Marks:
    """Return for each row of a table (at least two) whether it is held out (rows,). DataError for a column that cannot decide.

    `lookers` read the column of a large table.
    """
    column = rule.column or target
    if rule.by == "time":
        return latest(
            times_of(table, column, lookers), share, f"{table.path}: data.validation_split.time: column {column!r}"
        )
    codes = codes_of(table, column, lookers)
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
    sizes = _sizes(codes)
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


def latest(times: Times, share: float, where: str) -> Marks:
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
    sizes = _sizes(codes)
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


def _sizes(codes: Codes) -> NDArray[np.int64]:
    """Return how many rows have each code; a piece at a time, since numpy would make an int64 of every row."""
    pieces = [np.bincount(codes[start : start + _PIECE_ROWS]) for start in range(0, len(codes), _PIECE_ROWS)]
    sizes = np.zeros(max(map(len, pieces)), dtype=np.int64)
    for piece in pieces:
        sizes[: len(piece)] += piece
    return sizes
