"""Random batches: every row once per epoch, drawn like a global shuffle, the same whoever draws them (E3)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbp.sums.batches import BatchSampler, choose_rows, shard_permutation
from dbp.sums.shards import Shards


def rows_of(batch, shards, seed):
    rows = []
    for piece in batch.slices:
        first, _ = shards.bounds(piece.shard)
        order = shard_permutation(seed, batch.epoch, piece.shard, shards.size(piece.shard))
        rows += (first + order[piece.start : piece.stop]).tolist()
    return rows


@given(st.integers(1, 400), st.integers(1, 16), st.integers(1, 400), st.integers(0, 5))
def test_an_epoch_uses_every_row_exactly_once(rows, count, batch_rows, seed):
    shards = Shards(rows, min(count, rows))
    batch_rows = min(batch_rows, rows)
    sampler = BatchSampler(shards, batch_rows, seed)
    steps = -(-rows // batch_rows)
    for epoch in range(2):
        batches = [sampler.batch(epoch * steps + step) for step in range(1, steps + 1)]
        seen = [row for batch in batches for row in rows_of(batch, shards, seed)]
        assert sorted(seen) == list(range(rows))
        assert [sum(p.stop - p.start for p in b.slices) for b in batches[:-1]] == [batch_rows] * (steps - 1)


@given(st.integers(1, 60), st.integers(0, 3))
def test_a_batch_is_a_function_of_its_step_alone(step, seed):
    """A resumed run asks for a step without having asked for those before it."""
    shards = Shards(100, 7)
    walker = BatchSampler(shards, 9, seed)
    walked = [walker.batch(number) for number in range(1, step + 1)][-1]
    assert BatchSampler(shards, 9, seed).batch(step) == walked


def test_epochs_and_seeds_differ():
    shards = Shards(1000, 4)
    first = rows_of(BatchSampler(shards, 100, 0).batch(1), shards, 0)
    assert first != rows_of(BatchSampler(shards, 100, 0).batch(11), shards, 0)
    assert first != rows_of(BatchSampler(shards, 100, 1).batch(1), shards, 1)


def test_every_row_is_as_likely_in_the_first_batch():
    """Chi-square over the rows of two unequal shards: 20 of 50 rows, 4,000 seeds."""
    shards, hits = Shards(50, 3), Counter()
    for seed in range(4000):
        hits.update(rows_of(BatchSampler(shards, 20, seed).batch(1), shards, seed))
    expected = 4000 * 20 / 50
    statistic = sum((hits[row] - expected) ** 2 / expected for row in range(50)) / (1 - 20 / 50)
    assert statistic < 95  # chi-square with 49 degrees of freedom exceeds this once in 10,000


def test_on_line_learning_is_a_batch_of_one_row():
    batch = BatchSampler(Shards(10, 3), 1, 0).batch(4)
    assert [piece.stop - piece.start for piece in batch.slices] == [1]


@pytest.mark.parametrize("rows", [0, 11])
def test_a_batch_larger_than_the_table_or_empty_is_refused(rows):
    with pytest.raises(ValueError, match="expected 1 to 10"):
        BatchSampler(Shards(10, 2), rows, 0)


PINNED_PERMUTATION = [6, 9, 1, 7, 3, 2, 4, 0, 5, 8]
PINNED_SLICES = [(0, 3, 4), (1, 8, 11), (2, 5, 7), (3, 4, 8)]


def test_the_streams_are_what_they_were():
    """Resuming needs the same random numbers for ever: a change here breaks every running job."""
    assert shard_permutation(0, 0, 0, 10).tolist() == PINNED_PERMUTATION
    assert [tuple(piece) for piece in BatchSampler(Shards(1000, 4), 10, 7).batch(3).slices] == PINNED_SLICES


@given(st.data(), st.integers(1, 200), st.integers(1, 16))
def test_chosen_rows_are_those_rows_by_their_places_in_the_shards(data, rows, count):
    shards = Shards(rows, min(count, rows))
    wanted = data.draw(st.lists(st.integers(0, rows - 1), min_size=1, unique=True))
    slices = choose_rows(shards, np.array(wanted, dtype=np.int64)).slices
    found = [shards.bounds(piece.shard)[0] + row for piece in slices for row in piece.rows.tolist()]
    assert sorted(found) == sorted(wanted)
    assert [piece.shard for piece in slices] == sorted({piece.shard for piece in slices})
    assert all(0 <= row < shards.size(piece.shard) for piece in slices for row in piece.rows)
