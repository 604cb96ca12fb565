"""Medians by parts: exact where few values differ, near the middle where many do, and the same bits for the same tree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dbp.data.medians import MOST_POINTS, Points


def _of_parts(values: np.ndarray, parts: int) -> Points:
    sums = [Points.of(part) for part in np.array_split(values, parts)]
    while len(sums) > 1:
        sums = [a.add(b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
    return sums[0]


@example(values=[5e-324], parts=1)
@example(values=[5e-324, 1e-323], parts=1)
@given(values=st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=60), parts=st.sampled_from([1, 2, 4]))
def test_few_values_give_numpys_median(values: list[float], parts: int) -> None:
    """Of any number of rows, in any parts, also empty ones."""
    found = _of_parts(np.array(values), parts)
    assert found.counts.sum() == len(values)
    np.testing.assert_allclose(found.median(), np.median(values), rtol=1e-15)


@pytest.mark.parametrize("order", ["drawn", "sorted", "few very large"])
@pytest.mark.parametrize("parts", [1, 8, 256])
def test_many_values_give_one_near_the_middle(order: str, parts: int) -> None:
    """Within 0.2 % of the rows, no row lost, and never more points than said."""
    values = np.random.default_rng(3).standard_normal(300_000)
    values = {"drawn": values, "sorted": np.sort(values), "few very large": np.exp(5 * values)}[order]
    found = _of_parts(values, parts)
    assert len(found.values) <= MOST_POINTS
    assert found.counts.sum() == len(values)
    assert abs((values < found.median()).mean() - 0.5) < 0.002


def test_nothing_has_no_median() -> None:
    """NaN, which the check of empty columns refuses before it is used."""
    assert np.isnan(Points.of(np.empty(0)).median())
