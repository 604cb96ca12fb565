"""What `dbp inspect` counts, against pyarrow and numpy over the whole column at once."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbp.data.open_table import open_table
from dbp.data.profile import MOST_VALUES, ColumnProfile, profile_table
from dbp.data.suggestion import named_targets, remarks, suggest
from dbp.errors import InputError


def profile(folder: Path, columns: dict, rows: int | None = None):
    pq.write_table(pa.table(columns), folder / "t.parquet", row_group_size=97)
    return profile_table(open_table(folder / "t.parquet"), rows)


def test_numbers_texts_truths_and_dates(tmp_path):
    draw = np.random.default_rng(0)
    floats = pa.array(1e9 + draw.standard_normal(500), mask=draw.random(500) < 0.2)
    when = [dt.datetime(2020, 1, 1) + dt.timedelta(hours=int(h)) for h in draw.integers(0, 5000, 500)]
    columns = {"f": floats, "t": draw.choice(["a", "b", "c"], 500), "b": draw.random(500) < 0.3, "w": when}
    found = profile(tmp_path, columns)
    f = found.column("f")
    assert f.missing == floats.null_count
    assert f.mean == pytest.approx(pc.mean(floats).as_py(), rel=1e-15)
    assert f.deviation == pytest.approx(pc.stddev(floats).as_py(), rel=1e-6)
    assert (f.minimum, f.maximum) == tuple(pc.min_max(floats).as_py().values())
    assert not f.whole
    assert dict(found.column("t").counts) == {v: int((columns["t"] == v).sum()) for v in "abc"}
    assert found.column("b").mean == pytest.approx(columns["b"].mean())
    assert found.column("w").earliest == str(min(when))
    assert found.column("w").latest == str(max(when))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.one_of(st.none(), st.floats(allow_infinity=True)), max_size=9), min_size=1, max_size=6))
def test_batches_add_up(batches):
    column = ColumnProfile("x", "double", "number")
    for batch in batches:
        column.add(pa.array(batch, pa.float64()))
    values = np.array([v for batch in batches for v in batch if v is not None and np.isfinite(v)])
    assert column.rows == sum(map(len, batches))
    assert column.missing == sum(v is None or np.isnan(v) for batch in batches for v in batch)
    assert column.infinite == sum(v is not None and np.isinf(v) for batch in batches for v in batch)
    if len(values):
        assert (column.minimum, column.maximum) == (values.min(), values.max())
        if np.abs(values).max() < 1e150:
            size = np.abs(values).max() + 1e-300
            assert column.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-12 * size)
            assert column.deviation == pytest.approx(values.std(), rel=1e-6, abs=1e-9 * size)


def test_counting_stops_at_the_bound(tmp_path):
    found = profile(tmp_path, {"n": np.arange(3 * MOST_VALUES), "k": np.arange(3 * MOST_VALUES) % MOST_VALUES})
    assert found.column("n").counts is None
    assert found.column("k").distinct == MOST_VALUES


def test_the_first_rows_alone(tmp_path):
    found = profile(tmp_path, {"n": np.arange(500)}, rows=120)
    assert (found.table_rows, found.rows, found.column("n").maximum) == (500, 120, 119)


def test_what_is_no_feature_is_named_with_the_reason(tmp_path):
    rows = 60
    columns = {
        "row_id": np.arange(rows),
        "paid": [True, False] * 30,
        "same": ["x"] * rows,
        "name": [f"person {i}" for i in range(rows)],
        "spelled": [*map(str, range(rows - 1)), "oops"],
        "empty": pa.nulls(rows, pa.float64()),
        "huge": np.full(rows, 2**60) + np.arange(rows),
        "list": [[1]] * rows,
        "infinite": [np.inf, *range(rows - 1)],
        "good": [None, *range(rows - 1)],
        "color": ["red", None, *["blue"] * (rows - 2)],
        "y": np.arange(rows) % 3,
    }
    found = profile(tmp_path, columns)
    suggestion = suggest(found, ("y",))
    assert set(dict(suggestion.drop)) == {"row_id", "same", "name", "spelled", "empty", "huge", "list", "infinite"}
    assert suggestion.task == "classification"
    assert suggestion.fills_numbers
    assert suggestion.missing_class == ("color",)
    said = "\n".join(remarks(found, ("y",)))
    assert "column 'row_id': looks like a key; no feature" in said
    assert "column 'good' is missing in 1 of 60 rows (1.7%)" in said


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("why", r"no column 'why'.*perhaps 'y'\?"),
        ("when", "target 'when' holds timestamp"),
        ("one", "target 'one' has one value only"),
        ("none", "target 'none' holds no value"),
    ],
)
def test_a_target_that_is_none(tmp_path, target, words):
    columns = {"y": [1.5, 2.5], "when": [dt.datetime(2020, 1, 1)] * 2, "one": [1, 1], "none": pa.nulls(2, pa.int64())}
    with pytest.raises(InputError, match=words):
        suggest(profile(tmp_path, columns), (target,))


def test_few_whole_numbers_are_classes_and_many_are_amounts(tmp_path):
    found = profile(tmp_path, {"few": np.arange(90) % 9, "many": np.arange(90), "part": np.arange(90) / 2})
    assert [suggest(found, (name,)).task for name in ("few", "many", "part")] == [
        "classification",
        "regression",
        "regression",
    ]
    assert suggest(found, ("few",), "regression").task == "regression"


SEVERAL = {
    "on": [True, False] * 20,
    "paid": ["no", "yes"] * 20,
    "code": np.arange(40) % 2,
    "color": np.array(["red", "green", "blue", "red"] * 10),
    "size": np.arange(40) / 2,
    "cost": np.arange(40) % 7,
    "a,b": np.arange(40),
}


def test_several_targets_are_labels_or_amounts(tmp_path):
    found = profile(tmp_path, SEVERAL)
    for names, task in (
        (("on", "paid", "code"), "multilabel"),
        (("size", "cost"), "regression"),
        (("size", "code"), "regression"),
    ):
        suggestion = suggest(found, names)
        assert (suggestion.task, suggestion.targets, suggestion.stratify) == (task, names, False)
    assert suggest(found, ("on", "code"), "regression").task == "regression"


def test_targets_are_named_with_commas_between(tmp_path):
    found = profile(tmp_path, SEVERAL)
    assert named_targets("on, paid", found) == ("on", "paid")
    assert named_targets("a,b", found) == ("a,b",)


@pytest.mark.parametrize(
    ("names", "task", "words"),
    [
        (
            ("on", "color"),
            None,
            "target 'color' holds 3 classes; expected labels of two classes each, or numbers in all",
        ),
        (("on", "size"), None, "target 'size' holds numbers; expected labels of two classes each, or numbers in all"),
        (("on", "off", "of"), None, "no column 'off'"),
        (("on", "on"), None, "target 'on' is named twice"),
        (("on",), "multilabel", "one target for multilabel; expected two or more"),
        (("on", "paid"), "classification", "2 targets for classification; expected one, or multilabel"),
    ],
)
def test_targets_that_do_not_go_together(tmp_path, names, task, words):
    with pytest.raises(InputError, match=words):
        suggest(profile(tmp_path, SEVERAL), names, task)
