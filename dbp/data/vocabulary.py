"""How often each class of a category column occurs: counted in shards, added along the tree, bounded in memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dbp.data.columns import BadCells, Label, is_text, labels, plain_labels

LONGEST_CLASS = 1000  # characters


@dataclass(frozen=True)
class Vocabulary:
    """The classes of some rows. Counting stops where there are more than `most`: then `over` is true and the counts are empty."""

    most: int
    counts: Mapping[Label, int] = field(default_factory=dict)
    missing: int = 0
    over: bool = False

    def add(self, other: Vocabulary) -> Vocabulary:
        """Return the classes of both sets of rows."""
        missing = self.missing + other.missing
        both = Counter(self.counts) + Counter(other.counts)
        if self.over or other.over or len(both) > self.most:
            return Vocabulary(self.most, {}, missing, over=True)
        return Vocabulary(self.most, both, missing)

    @property
    def spells_numbers(self) -> bool:
        """Whether half of the classes or more are text that spells numbers: a column of numbers with a cell that is none."""
        words = [value for value in self.counts if isinstance(value, str)]
        return 2 * sum(map(_is_number, words)) >= max(len(words), 1)


def count_classes(
    column: pa.Array | pa.ChunkedArray, row_numbers: NDArray[np.int64], most: int, missing_too: bool
) -> tuple[Vocabulary, BadCells | None]:
    """Return the classes of a column, and the cells that are none; a missing one is none, unless `missing_too`."""
    plain = plain_labels(column)
    empty = np.asarray(pc.is_null(plain, nan_is_null=True).to_numpy(zero_copy_only=False))
    missing = int(empty.sum()) if missing_too else 0
    if missing:
        plain, row_numbers = plain.filter(pa.array(~empty)), row_numbers[~empty]
    if is_text(plain.type):
        long = pc.fill_null(pc.greater(pc.utf8_length(plain), LONGEST_CLASS), False)
        places = np.flatnonzero(np.asarray(long.to_numpy(zero_copy_only=False)))
        if len(places):
            text = repr(plain[int(places[0])].as_py())[:40] + "..."
            expected = f"a category of at most {LONGEST_CLASS} characters"
            return Vocabulary(most), BadCells(len(places), int(row_numbers[places[0]]) + 1, text, expected)
    if pc.count_distinct(plain).as_py() > most:
        return Vocabulary(most, {}, missing, over=True), None
    counts, bad = labels(plain, row_numbers)
    if bad is not None:
        expected = "a category: text, a whole number or true/false (data.impute can make missing a class)"
        bad = BadCells(bad.count, bad.row, bad.text, expected)
    return Vocabulary(most, counts, missing), bad


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False
