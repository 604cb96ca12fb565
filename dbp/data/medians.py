"""Medians as sums along the tree: the values of some rows, thinned where there are too many different ones.

Exact as long as a column has at most MOST_POINTS different values. Beyond, each set of rows is kept as MOST_POINTS values that
stand for equally many rows each, so that a value's rank is off by at most half of such a step each time it is thinned. The
order of merging is the tree's, and so are the values that are kept: they belong to the data, not to the workers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 4096


@dataclass(frozen=True)
class Points:
    """Different values, increasing, and for how many rows each stands."""

    values: NDArray[np.float64]
    counts: NDArray[np.float64]  # whole numbers

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Points:
        """Return the points of some rows' values (rows,), all finite."""
        different, counts = np.unique(values, return_counts=True)
        return cls(different, counts.astype(np.float64))._thinned()

    def add(self, other: Points) -> Points:
        """Return the points of both sets of rows."""
        different, place = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        return Points(different, _sums(place, np.concatenate([self.counts, other.counts]), len(different)))._thinned()

    def owned(self) -> Points:
        """Return it with arrays of its own."""
        return Points(self.values.copy(), self.counts.copy())

    def median(self) -> float:
        """Return the value in the middle; of an even number of rows, the mean of the two. NaN for no rows."""
        ends = np.cumsum(self.counts)
        if not len(ends):
            return float("nan")
        rows = ends[-1]
        low, high = (int(np.searchsorted(ends, rank, side="right")) for rank in ((rows - 1) // 2, rows // 2))
        least, most = float(self.values[low]), float(self.values[high])
        both = least + most
        # Halves have the same bits unless they are too small for all of their digits; sums may be too large.
        return both / 2 if math.isfinite(both) else least / 2 + most / 2

    def _thinned(self) -> Points:
        if len(self.values) <= MOST_POINTS:
            return self
        # The rows in order are dealt into equal runs; the value in the middle of a run stands for it.
        ends = np.cumsum(self.counts)
        edges = np.floor(ends[-1] * np.arange(MOST_POINTS + 1) / MOST_POINTS)
        middles = np.searchsorted(ends, (edges[:-1] + edges[1:]) // 2, side="right")
        kept, place = np.unique(middles, return_inverse=True)
        return Points(self.values[kept], _sums(place, np.diff(edges), len(kept)))


def _sums(place: NDArray[np.int64], counts: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    return np.bincount(place, counts, length).astype(np.float64)
