"""Cutting rows: every row once, nearly equal, a function of the number of rows alone."""

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


@given(st.integers(1, 10**9))
def test_the_number_of_shards_is_a_power_of_two_and_no_shard_is_tiny(rows):
    count = cut_into_shards(rows).count
    assert count & (count - 1) == 0
    assert count <= MOST_SHARDS
    assert count == 1 or rows // count >= 128


def test_no_rows_cannot_be_cut():
    with pytest.raises(ValueError, match="expected at least 1"):
        cut_into_shards(0)
