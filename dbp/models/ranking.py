"""The area under the ROC curve: the chance that a row of the class scores higher than one of another, equal scores half
(Hanley & McNeil 1982).

Exact up to EXACT_SCORES scores, which are then kept in memory, 8 bytes each. Beyond that, scores are counted in fine bins, equal
scores being those in one bin, and the result says how far it can be off. Which of the two depends on the table alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXACT_SCORES = 1 << 24
_BINS = 1 << 18
_COUNTERS = 1 << 24  # of all classes together, for rows of a class and for others: 256 MiB
_REACH = 40.0  # of the log-odds that bins tell apart

Floats = NDArray[np.float64]
Known = NDArray[Any]  # int32 (rows,), or truth (rows, columns)


class Ranking:
    """Takes scores (rows, columns) and whether each row is of the column's class; gives an area for each column."""

    def __init__(self, columns: int, rows: int, *, log_odds: bool, weighted: bool) -> None:
        self._columns, self._log_odds, self._weighted = columns, log_odds, weighted
        self.exact = columns * rows <= EXACT_SCORES
        self._scores: list[Floats] = []
        self._classes: list[Known] = []
        self._weights: list[Floats] = []
        self._bins = 1 << (min(_BINS, max(_COUNTERS // columns, 2)).bit_length() - 1)
        self._counts = np.zeros((0 if self.exact else columns, 2, self._bins))

    def add(self, scores: Floats, classes: Known, weights: Floats | None) -> None:
        """Add rows; the class of column c is c, of a single column 1. Or `classes` says it of each column (rows, columns)."""
        if self.exact:
            self._scores.append(scores)
            self._classes.append(classes)
            if weights is not None:
                self._weights.append(weights)
            return
        places = self._places(scores)
        for column in range(self._columns):
            mine = self._mine(classes, column)
            for side in (0, 1):
                chosen = mine == bool(side)
                counted = np.bincount(
                    places[chosen, column], None if weights is None else weights[chosen], minlength=self._bins
                )
                self._counts[column, side] += counted

    def areas(self) -> tuple[list[float], float | None]:
        """Return the area for each column, NaN where all rows are of the class or none is, and by how much any of them may be
        off; None: by nothing."""
        if not self.exact:
            return self._binned()
        scores = np.concatenate(self._scores)
        classes = np.concatenate(self._classes)
        weights = np.concatenate(self._weights) if self._weighted else None
        columns = range(self._columns)
        return [area(scores[:, c], self._mine(classes, c), weights) for c in columns], None

    def _mine(self, classes: Known, column: int) -> NDArray[np.bool_]:
        """Return whether each row is of the column's class."""
        mine: NDArray[np.bool_]
        mine = classes[:, column] != 0 if classes.ndim == 2 else classes == (1 if self._columns == 1 else column)
        return mine

    def _places(self, scores: Floats) -> NDArray[np.intp]:
        """Return the bin of each score. Probabilities are spread by their log-odds: those near 0 and 1 differ, too."""
        spread = scores
        if self._log_odds:
            with np.errstate(divide="ignore"):
                spread = np.log(scores) - np.log1p(-scores)
        shares = np.clip((spread + _REACH) / (2 * _REACH), 0, 1)
        places: NDArray[np.intp] = np.minimum(shares * self._bins, self._bins - 1).astype(np.intp)
        return places

    def _binned(self) -> tuple[list[float], float]:
        found, off = [], 0.0
        for others, mine in self._counts:
            pairs = float(others.sum()) * float(mine.sum())
            below = np.cumsum(others) - others
            tied = float((mine * others).sum()) / 2
            found.append((float((mine * below).sum()) + tied) / pairs if pairs else math.nan)
            off = max(off, tied / pairs if pairs else 0.0)
        return found, off


def area(scores: Floats, positive: NDArray[np.bool_], weights: Floats | None = None) -> float:
    """Return the area under the ROC curve of scores (rows,); NaN where all rows are positive or none is.

    Without weights it is a ratio of two whole numbers, each exact.
    """
    order = np.argsort(scores, kind="stable")
    scores, positive = scores[order], positive[order]
    counted = np.ones(len(scores), np.int64) if weights is None else weights[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # of equal scores
    upto = [np.cumsum(np.where(side, counted, 0))[last] for side in (positive, ~positive)]
    mine, others = (np.diff(each, prepend=0) for each in upto)
    pairs = upto[0][-1].item() * upto[1][-1].item() if len(last) else 0
    if not pairs:
        return math.nan
    below = upto[1] - others
    return float((mine * (2 * below + others)).sum().item() / (2 * pairs))
