"""Pictures: positions checked against the numbers they stand for."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbp.reports.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Series,
    line_chart,
    scatter,
    thinned,
)

finite = st.floats(allow_nan=False, allow_infinity=False)


def points_of(svg: str) -> list[tuple[float, float]]:
    (found,) = re.findall(r'<polyline points="([^"]*)"', svg)
    return [(float(x), float(y)) for x, y in (point.split(",") for point in found.split())]


@given(st.lists(finite, min_size=1, max_size=40))
def test_any_finite_numbers_are_drawn_inside(ys: list[float]) -> None:
    """Extremes too: no number of the picture is NaN, and none lies outside its frame."""
    svg = line_chart("t", [Series("loss", tuple(range(len(ys))), tuple(ys))])
    points = points_of(svg)
    assert len(points) == len(ys)
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in points)
    assert "nan" not in svg
    assert 'inf"' not in svg
    order = sorted(range(len(ys)), key=lambda place: ys[place])
    heights = [points[place][1] for place in order]
    assert heights == sorted(heights, reverse=True)  # more is higher


def test_a_logarithmic_scale_is_one() -> None:
    """Equal factors are equal distances."""
    points = points_of(line_chart("t", [Series("loss", (1, 2, 3), (100.0, 10.0, 1.0))]))
    assert points[1][1] - points[0][1] == pytest.approx(points[2][1] - points[1][1], abs=0.2)


def test_thinned_keeps_the_extremes() -> None:
    """A single peak among many points is not lost."""
    ys = [0.0] * 10_000
    ys[7_777] = 5.0
    xs, kept = thinned(list(range(10_000)), ys)
    assert len(xs) <= MOST_POINTS + 2
    assert (xs[0], xs[-1]) == (0, 9_999)
    assert 7_777 in xs
    assert max(kept) == 5.0


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [-1e308, 1e308], [5e-324, 0.0]])
def test_a_scatter_of_odd_numbers(values: list[float]) -> None:
    """One value, flat, and extreme ones."""
    svg = scatter("t", values, values, "known", "predicted")
    assert not re.search(r"nan|inf[^o]", svg)
    assert svg.count("<circle") == len(values)
    assert all(math.isfinite(float(found)) for found in re.findall(r'c[xy]="([^"]+)"', svg))
