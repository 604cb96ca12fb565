"""The split: exactly the share, both parts together all rows, the same for one seed, every row equally likely."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dbp.data.split import CHUNK_ROWS, Split

SIZES = st.one_of(st.integers(2, 300), st.integers(CHUNK_ROWS - 2, 3 * CHUNK_ROWS))
SHARES = st.floats(0.0001, 0.9999)
SEEDS = st.integers(0, 2**63 - 1)


def _parts(split: Split) -> tuple[np.ndarray, np.ndarray]:
    return split.rows(False, 0, split.training_rows), split.rows(True, 0, split.validation_rows)


@settings(deadline=None, max_examples=60)
@given(rows=SIZES, share=SHARES, seed=SEEDS)
def test_exactly_the_share_and_every_row_once(rows: int, share: float, seed: int) -> None:
    """round(rows x share) rows are held out (at least one to each part); the parts are disjoint, complete and increasing."""
    split = Split(rows, share, seed)
    training, validation = _parts(split)
    assert len(validation) == split.validation_rows == min(max(round(rows * share), 1), rows - 1)
    assert len(training) == split.training_rows == rows - len(validation)
    assert (np.diff(training) > 0).all()
    assert (np.diff(validation) > 0).all()
    np.testing.assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(rows))


@settings(deadline=None, max_examples=40)
@given(rows=SIZES, share=SHARES, seed=SEEDS, data=st.data())
def test_a_part_in_pieces_is_the_whole(rows: int, share: float, seed: int, data: st.DataObject) -> None:
    """Any run of a part, asked of another object: so every worker sees the same split."""
    for held_out, whole in zip((False, True), _parts(Split(rows, share, seed)), strict=True):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
        edges = [0, *cuts, len(whole)]
        pieces = [Split(rows, share, seed).rows(held_out, a, b) for a, b in pairwise(edges)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_rows_of_several_chunks() -> None:
    """Runs that begin and end inside, at and across the edges of chunks; none and beyond are empty and cut short."""
    split = Split(3 * CHUNK_ROWS + 5, 0.25, 7)
    training, _ = _parts(split)
    edge = int(np.searchsorted(training, CHUNK_ROWS))
    for start, stop in [(edge - 1, edge + 1), (edge, edge), (edge, 2 * edge + 3), (0, len(training)), (5, 5)]:
        np.testing.assert_array_equal(split.rows(False, start, stop), training[start:stop])


def test_the_seed_decides() -> None:
    """The same seed gives the same rows, another seed others; so do another share and another number of rows."""
    first = Split(1000, 0.3, 1).rows(True, 0, 300)
    np.testing.assert_array_equal(first, Split(1000, 0.3, 1).rows(True, 0, 300))
    assert len(set(first) & set(Split(1000, 0.3, 2).rows(True, 0, 300))) < 150


def test_every_row_is_held_out_equally_often() -> None:
    """Over 2000 seeds each of 50 rows is held out 600 times on average: chi-square, p > 0.001 (the seeds are fixed)."""
    counts = np.zeros(50)
    for seed in range(2000):
        counts[Split(50, 0.3, seed).rows(True, 0, 15)] += 1
    assert counts.sum() == 2000 * 15
    # Draws without replacement: each count has variance n p (1 - p), and they are correlated -1/49; both are accounted for.
    statistic = np.square(counts - 600).sum() / (2000 * 0.3 * 0.7) * 49 / 50
    assert stats.chi2.sf(statistic, 49) > 0.001
    assert stats.chi2.cdf(statistic, 49) > 0.001


def test_pairs_and_chunks_are_held_out_evenly() -> None:
    """How many rows each chunk holds out varies as a draw without replacement does: neither fixed nor clustered."""
    rows = 2 * CHUNK_ROWS + 1000
    held = [
        np.bincount(Split(rows, 0.5, seed).rows(True, 0, rows // 2) // CHUNK_ROWS, minlength=3) for seed in range(60)
    ]
    first = np.array(held)[:, 0]
    exact = stats.hypergeom(rows, CHUNK_ROWS, rows // 2)
    assert abs(first.mean() - exact.mean()) < 4 * exact.std() / np.sqrt(60)
    assert 0.6 < first.std() / exact.std() < 1.5


@pytest.mark.parametrize(("rows", "share"), [(1, 0.5), (10, 0.0), (10, 1.0), (10, float("nan"))])
def test_what_cannot_be_split(rows: int, share: float) -> None:
    """Fewer than two rows, or a share that leaves nothing."""
    with pytest.raises(ValueError, match="expected 2 rows or more and a share between 0 and 1"):
        Split(rows, share, 0)
