"""Column summaries: the sum of any pieces is the summary of the whole, to the last digits; labels and cells that cannot be used."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbp.data import columns
from dbp.data.statistics import ColumnSummary, summarize


def _summary(values: object, label: list[object] | None = None, first_row: int = 0) -> ColumnSummary:
    columns = {"v": pa.array(values)} | ({"label": pa.array(label)} if label is not None else {})
    table = pa.table(columns)
    rows = np.arange(first_row, first_row + table.num_rows)
    return summarize(table, ["v"], "label" if label is not None else None, rows)


def _added(values: np.ndarray, cuts: list[int]) -> ColumnSummary:
    """Summaries of the pieces, added pairwise as the tree does."""
    parts = [_summary(values[a:b], first_row=a) for a, b in pairwise([0, *cuts, len(values)]) if a < b]
    while len(parts) > 1:
        pairs = [left.add(right) for left, right in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + ([parts[-1]] if len(parts) % 2 else [])
    return parts[0]


KINDS = {
    "around zero": (0.0, 1.0),
    "a large mean": (1e9, 1.0),
    "a large mean, small noise": (1e9, 1e-3),
    "a negative mean": (-1e6, 1e-2),
    "large": (3e100, 1e99),
    "small": (1e-100, 1e-101),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [1, 2, 7, 64, 1000])
def test_mean_and_spread_are_exact_to_twelve_digits(kind: str, pieces: int) -> None:
    """Against sums of fractions over the whole column: relative error below 1e-12, of the spread around 1e9 too."""
    center, noise = KINDS[kind]
    random = np.random.default_rng(pieces)
    values = center + noise * random.standard_normal(4000)
    summary = _added(values, sorted(random.integers(0, 4001, pieces - 1).tolist()))
    exact = [Fraction(value) for value in values.tolist()]
    mean = sum(exact) / len(exact)
    spread = float(sum((value - mean) ** 2 for value in exact))
    assert math.isclose(summary.m2[0], spread, rel_tol=1e-12)
    # The mean is right to its own last digit, or where it is near 0 to the spread's thirteenth.
    offset = float(mean - Fraction(summary.center[0]))
    assert math.isclose(summary.offset[0], offset, rel_tol=1e-12, abs_tol=1e-13 * noise)
    assert abs(summary.mean[0] - float(mean)) <= max(np.spacing(abs(float(mean))), 1e-13 * noise)
    np.testing.assert_allclose(summary.m2[0] / 4000, values.var(), rtol=1e-12 if center < 1e9 else 1e-7)
    assert (summary.rows, summary.minimum[0], summary.maximum[0]) == (4000, values.min(), values.max())


@settings(deadline=None, max_examples=100)
@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40),
    cut=st.integers(1, 39),
)
def test_one_cut_anywhere(values: list[float], cut: int) -> None:
    """Drawn columns of few rows, cut in two, against sums of fractions."""
    column = np.array(values)
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    spread = float(sum((value - mean) ** 2 for value in exact))
    summary = _added(column, [min(cut, len(column) - 1)])
    scale = np.square(column - column[0]).sum() + 1e-300  # what the sum of squares could be
    assert abs(summary.m2[0] - spread) <= 1e-12 * scale
    assert abs(summary.mean[0] - float(mean)) <= 1e-12 * (1 + np.abs(column).max())
    assert summary.m2[0] >= 0


@pytest.mark.parametrize(
    ("labels", "counts"),
    [
        (["b", "a", "b"], {"a": 1, "b": 2}),
        ([3, 1, 3], {1: 1, 3: 2}),
        ([True, False, True], {True: 2, False: 1}),
        ([2.0, -1.0, 2.0], {2: 2, -1: 1}),
        ([0.0, -0.0, 1.0], {0: 2, 1: 1}),
    ],
)
def test_labels_are_counted(labels: list[object], counts: dict[object, int]) -> None:
    """Text, whole numbers (also as floats) and truth keep their own types."""
    summary = _summary([0.0] * 3, labels)
    assert (summary.labels, summary.bad) == (counts, {})
    assert {type(label) for label in summary.labels} == {type(label) for label in counts}


def test_labels_of_a_dictionary_column() -> None:
    """Only the labels that occur, whatever each chunk's dictionary lists, in two chunks with dictionaries of their own."""
    chunks = [pa.array(["b", "a", "b"]).dictionary_encode().slice(0, 1), pa.array(["c", "b"]).dictionary_encode()]
    table = pa.table({"v": [1.0, 2.0, 3.0], "label": pa.chunked_array(chunks)})
    assert summarize(table, ["v"], "label", np.arange(3)).labels == {"b": 2, "c": 1}


@settings(deadline=None, max_examples=50)
@given(labels=st.lists(st.sampled_from("abc"), min_size=2, max_size=30), cut=st.integers(1, 29))
def test_counts_add_up(labels: list[str], cut: int) -> None:
    """Pieces count what the whole counts."""
    cut = min(cut, len(labels) - 1)
    left, right = (_summary([0.0] * len(part), list(part)) for part in (labels[:cut], labels[cut:]))
    assert left.add(right).labels == Counter(labels)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (["a", None, "b"], "missing"),
        ([1.0, 2.5, 3.0], "2.5"),
        ([1.0, math.inf, 2.0], "inf"),
        ([1.0, -math.inf, 2.0], "-inf"),
        ([1.0, math.nan, 2.0], "nan"),
        ([1.0, None, 2.0], "missing"),
    ],
)
def test_cells_that_are_no_label(labels: list[object], text: str) -> None:
    """The row, counted from 1 in the file, and the cell; it is not counted as a class."""
    summary = _summary([0.0] * 3, labels, first_row=10)
    cells = summary.bad["label"]
    assert (cells.count, cells.row, cells.text) == (1, 12, text)
    assert sum(summary.labels.values()) == 2
    assert "expected a class label" in cells.describe("label")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, math.nan], "nan"),
        ([1.0, -math.inf], "-inf"),
        ([1, None], "missing"),
        ([True, None], "missing"),
        ([1, 2**53 + 2], str(2**53 + 2)),
        ([1, -(2**62)], str(-(2**62))),
    ],
)
def test_cells_that_are_no_number(values: list[object], text: str) -> None:
    """Not finite, missing, or a whole number that float64 would round."""
    cells = _summary(values, first_row=4).bad["v"]
    assert (cells.count, cells.row, cells.text) == (1, 6, text)


def test_bad_cells_merge_to_the_first() -> None:
    """In either order: the count of both, the row and the text of the earlier."""
    early, late = _summary([math.inf, 1.0, math.inf], first_row=5), _summary([math.nan], first_row=90)
    for summary in (early.add(late), late.add(early)):
        cells = summary.bad["v"]
        assert (cells.count, cells.row, cells.text) == (3, 6, "inf")
    assert early.add(_summary([1.0])).bad["v"] == early.bad["v"]


@pytest.mark.parametrize("kind", ["int8", "uint64", "float16", "float32", "bool", "decimal128"])
def test_number_columns_of_any_type(kind: str) -> None:
    """All are summarised in float64."""
    from decimal import Decimal

    column = pa.array([Decimal(0), Decimal(1), Decimal(1)], pa.decimal128(20, 3)) if kind == "decimal128" else None
    column = pa.array(np.array([0, 1, 1], dtype=kind)) if column is None else column
    summary = _summary(column)
    assert summary.mean[0] == pytest.approx(2 / 3, rel=1e-15)
    assert summary.m2[0] == pytest.approx(2 / 3, rel=1e-14)


@pytest.mark.parametrize(
    ("labels", "text"),
    [(pa.array([1, 2**63 + 5, 1], pa.uint64()), str(2**63 + 5)), (pa.array(["a", "a\0", "a"]), "'a\\x00'")],
)
def test_labels_that_numpy_would_change_are_refused(labels: pa.Array, text: str) -> None:
    """Whole numbers beyond int64, and text that ends in NUL: the row and the cell, and neither is counted as a class."""
    counts, cells = columns.labels(labels, np.arange(3))
    assert cells is not None
    assert (cells.count, cells.row, cells.text) == (1, 2, text)
    assert sum(counts.values()) == 2
