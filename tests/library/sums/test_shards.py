"""Cutting rows: every row once, nearly equal, a function of rows and network alone."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbp.sums.shards import MOST_SHARDS, Shards, cut_into_shards


@given(st.integers(1, 10**9), st.integers(1, 300))
def test_shards_cover_every_row_once_and_are_nearly_equal(rows, count):
    count = min(rows, count)
    shards = Shards(rows, count)
    bounds = [shards.bounds(shard) for shard in range(count)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == rows
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(bounds))
    sizes = [shards.size(shard) for shard in range(count)]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


LAYERS = st.lists(st.integers(1, 3000), min_size=1, max_size=5)


@given(st.integers(1, 10**9), LAYERS)
def test_the_number_of_shards_is_a_power_of_two_and_no_shard_is_tiny(rows, sizes):
    count = cut_into_shards(rows, sizes).count
    assert count & (count - 1) == 0
    assert count <= MOST_SHARDS
    assert count == 1 or rows // count >= 128


@given(st.integers(1, 10**9), LAYERS)
def test_more_rows_never_make_fewer_shards(rows, sizes):
    assert cut_into_shards(rows, sizes).count <= cut_into_shards(2 * rows, sizes).count


def test_small_tables_have_work_for_a_few_workers_and_big_networks_long_shards():
    """The four networks of the benchmarks and the digits: what a change of the model would change."""
    cases = {
        (1437, (64, 64, 32)): 8,
        (20_000, (784, 512, 256, 10)): 16,
        (10_000, (784, 1024, 1024, 10)): 8,
        (100_000, (100, 64, 64, 1)): 32,
        (200_000, (20, 32, 1)): 8,
        (127, (20, 32)): 1,
    }
    assert {case: cut_into_shards(*case).count for case in cases} == cases


def test_no_rows_cannot_be_cut():
    with pytest.raises(ValueError, match="expected at least 1"):
        cut_into_shards(0, (3, 2))
