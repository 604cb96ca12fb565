"""Which rows a step uses: all of them, or a random batch of B (row E3 of the derivation).

A numeric batch is drawn without replacement until an epoch has used every row once, like walking through one random
permutation of all rows; but nobody ever holds that permutation. Inside a shard the rows follow a permutation keyed by (seed,
epoch, shard), made by whichever worker has the shard. How many rows each shard gives to a batch is drawn here from the
multivariate hypergeometric distribution, which is exactly how many of them a global permutation would have put there.
So a batch is a few numbers per shard, and the same for any number of workers. B = 1 is on-line learning.

Who has drawn rows already (the estimators of `dbp.sklearn`, as scikit-learn does) names them: `ChosenRows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dbp.seeds import generator
from dbp.sums.shards import Shards


class Slice(NamedTuple):
    """Places [start, stop) of a shard's permutation in an epoch."""

    shard: int
    start: int
    stop: int


@dataclass(frozen=True)
class Batch:
    """The rows of one step, as slices of the shards that take part, in the order of the shards."""

    epoch: int
    slices: tuple[Slice, ...]


class Chosen(NamedTuple):
    """Rows of a shard, by their places in it, from 0."""

    shard: int
    rows: NDArray[np.int64]  # (rows,)


@dataclass(frozen=True, eq=False)
class ChosenRows:
    """The rows of one step, named one by one, in the order of the shards: for a caller who draws batches in a way of its own."""

    slices: tuple[Chosen, ...]


def choose_rows(shards: Shards, rows: NDArray[np.int64]) -> ChosenRows:
    """Return the batch of these rows (n,) of the table, n >= 1; inside a shard they keep their order."""
    starts = np.array([shards.bounds(shard)[0] for shard in range(shards.count)], dtype=np.int64)
    homes = np.searchsorted(starts, rows, side="right") - 1
    return ChosenRows(
        tuple(Chosen(int(shard), rows[homes == shard] - starts[shard]) for shard in np.unique(homes).tolist())
    )


def shard_permutation(seed: int, epoch: int, shard: int, size: int) -> NDArray[np.int64]:
    """Return the order (size,) in which an epoch visits the rows of a shard."""
    return generator(seed, "batch-order", epoch, shard).permutation(size)


class BatchSampler:
    """The batches of `batch_rows` rows each (the last of an epoch may be shorter), as a function of the step alone."""

    def __init__(self, shards: Shards, batch_rows: int, seed: int) -> None:
        if not 1 <= batch_rows <= shards.rows:
            raise ValueError(f"a batch of {batch_rows} rows from {shards.rows}; expected 1 to {shards.rows}")
        self._shards = shards
        self._batch_rows = batch_rows
        self._seed = seed
        self._steps_per_epoch = -(-shards.rows // batch_rows)
        self._epoch = -1
        self._place = 0
        self._walk: Iterator[Batch] = iter(())

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`, counted from 1. Steps in order cost O(V) each; a jump walks from its epoch's start."""
        epoch, place = divmod(step - 1, self._steps_per_epoch)
        if epoch != self._epoch or place < self._place:
            self._epoch, self._place, self._walk = epoch, 0, self._batches(epoch)
        for _ in range(place - self._place):
            next(self._walk)
        self._place = place + 1
        return next(self._walk)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        draw = generator(self._seed, "batch-shares", epoch)
        left = np.array([self._shards.size(shard) for shard in range(self._shards.count)], dtype=np.int64)
        used = np.zeros_like(left)
        for _ in range(self._steps_per_epoch):
            rows = min(self._batch_rows, int(left.sum()))
            taken = draw.multivariate_hypergeometric(left, rows, method="marginals")
            slices = tuple(
                Slice(int(shard), int(used[shard]), int(used[shard] + taken[shard])) for shard in np.flatnonzero(taken)
            )
            left, used = left - taken, used + taken
            yield Batch(epoch, slices)
