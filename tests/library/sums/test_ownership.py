"""Who owns a shard while slots come and go."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dbp.sums.ownership import Ownership

SLOTS = st.lists(st.integers(0, 9), min_size=1, unique=True).map(sorted)


@given(st.integers(1, 256), st.integers(1, 20))
def test_at_first_slots_own_contiguous_runs_of_nearly_equal_length(shards, slots):
    owners = Ownership(shards).among(range(slots))
    assert list(owners) == sorted(owners)
    counts = [Counter(owners)[slot] for slot in range(slots)]
    assert max(counts) - min(counts) <= 1


@given(st.integers(1, 256), st.lists(SLOTS, min_size=1, max_size=8))
def test_shards_are_shared_out_evenly_and_no_more_of_them_move_than_must(shards, changes):
    ownership = Ownership(shards)
    before = list(ownership.among(range(10)))
    for able in changes:
        after = list(ownership.among(able))
        counts = Counter(dict.fromkeys(able, 0)) + Counter(after)
        owned = [counts[slot] for slot in able]
        assert set(after) <= set(able)
        assert max(owned) - min(owned) <= 1
        moved = sum(a != b for a, b in zip(before, after, strict=True))
        kept = Counter(owner for owner in before if owner in able)
        share, more = divmod(shards, len(able))
        largest = sorted((kept[slot] for slot in able), reverse=True)
        could_stay = sum(min(count, share + (place < more)) for place, count in enumerate(largest))
        assert moved == shards - could_stay
        before = after


def test_a_slot_that_comes_back_gets_its_own_shards_again():
    ownership = Ownership(12)
    first = list(ownership.among([0, 1, 2]))
    assert list(ownership.among([0, 2])) != first
    assert list(ownership.among([0, 1, 2])) == first
