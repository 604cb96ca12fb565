"""Rows are loaded in rounds, so that somebody can be told how far the workers are.

A round is a sum of a few shards of every worker. What it adds up to is of no interest: the sum over all rows that follows
is made along the whole tree as ever, of shards that are loaded by then.
"""

from __future__ import annotations

from dbp.sums.batches import Batch, Slice
from dbp.sums.shards import Shards

MOST_ROUNDS = 16
LEAST_ROWS = 1_000_000  # fewer are there before anybody wonders


def loading_rounds(shards: Shards, workers: int) -> list[Batch]:
    """Return which shards are loaded together, none for few rows.

    Workers own neighbouring shards, so every round takes shards that lie apart: about as many of each worker.
    """
    rounds = min(MOST_ROUNDS, shards.count // max(workers, 1))
    if rounds < 2 or shards.rows < LEAST_ROWS:
        return []
    return [
        Batch(0, tuple(Slice(shard, 0, _rows(shards, shard)) for shard in range(first, shards.count, rounds)))
        for first in range(rounds)
    ]


def rows_of(batch: Batch) -> int:
    """Return how many rows a round has."""
    return sum(piece.stop - piece.start for piece in batch.slices)


def _rows(shards: Shards, shard: int) -> int:
    start, stop = shards.bounds(shard)
    return stop - start
