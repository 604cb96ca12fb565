"""Validation rows that a column chooses: groups stay whole, the latest are held out, classes keep their shares."""

from __future__ import annotations

import datetime as dt
import itertools
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_files import write

from dbp.data import text_scan
from dbp.data.column_plan import SplitRule
from dbp.data.dataset import Dataset
from dbp.data.held_out import groups, latest, stratified
from dbp.data.split import CHUNK_ROWS, MarkedSplit, pack_marks
from dbp.data.split_column import ColumnTask
from dbp.errors import DataError

By = Literal["group", "time", "stratify"]
SHARES = st.floats(0.02, 0.95)


def _codes(values: list[int]) -> np.ndarray[Any, Any]:
    return np.unique(np.array(values), return_inverse=True)[1]


@settings(deadline=None)
@given(values=st.lists(st.integers(0, 12), min_size=2, max_size=200), share=SHARES, seed=st.integers(0, 9))
def test_groups_stay_whole(values: list[int], share: float, seed: int) -> None:
    """None has rows on both sides, both sides have some, and the share is met within the largest group."""
    codes = _codes(values)
    if codes.max() == 0:
        with pytest.raises(DataError, match="one group only"):
            groups(codes, share, seed, "here")
        return
    held = groups(codes, share, seed, "here")
    assert not set(codes[held]) & set(codes[~held])
    assert 0 < held.sum() < len(codes)
    np.testing.assert_array_equal(held, groups(codes, share, seed, "here"))
    assert abs(held.sum() - share * len(codes)) <= max(np.bincount(codes).max(), 1)


@settings(deadline=None)
@given(values=st.lists(st.integers(-9, 9), min_size=2, max_size=200), share=SHARES)
def test_the_latest_are_held_out(values: list[int], share: float) -> None:
    """Every held-out row is later than every other; no other such cut comes nearer to the share."""
    times = np.array(values)
    if len(set(values)) == 1:
        with pytest.raises(DataError, match="one time only"):
            latest(times, share, "here")
        return
    held = latest(times, share, "here")
    assert times[held].min() > times[~held].max()
    wanted = min(max(round(share * len(times)), 1), len(times) - 1)
    others = [abs(int((times > cut).sum()) - wanted) for cut in set(values) - {max(values)}]
    assert abs(int(held.sum()) - wanted) == min(others)


@settings(deadline=None)
@given(values=st.lists(st.integers(0, 5), min_size=2, max_size=200), share=SHARES, seed=st.integers(0, 9))
def test_classes_keep_their_shares(values: list[int], share: float, seed: int) -> None:
    """Within a row of the exact share each, and in all; every class keeps a row to learn from."""
    codes = _codes(values)
    held = stratified(codes, share, seed)
    sizes, counts = np.bincount(codes), np.bincount(codes[held], minlength=codes.max() + 1)
    assert (counts < sizes).all()
    free = counts < sizes - 1  # those that did not give their row
    assert (np.abs(counts - sizes * share)[free] <= 1 + (counts.sum() == 1)).all()
    if free.all() and counts.sum() > 1:
        assert abs(counts.sum() - len(codes) * share) <= 1
    np.testing.assert_array_equal(held, stratified(codes, share, seed))


@pytest.mark.parametrize("rows", [3, 70_001, 2 * CHUNK_ROWS])
def test_marks_are_dealt_as_they_are(rows: int) -> None:
    """In any pieces; with the numbers of rows of each part."""
    held = np.random.default_rng(1).random(rows) < 0.3
    held[:2] = True, False
    split = MarkedSplit(rows, pack_marks(held))
    for part in (True, False):
        expected = np.flatnonzero(held == part)
        assert (split.validation_rows if part else split.training_rows) == len(expected)
        cuts = [*range(0, len(expected), 29_999), len(expected)]
        pieces = [split.rows(part, low, high) for low, high in itertools.pairwise(cuts)]
        np.testing.assert_array_equal(np.concatenate(pieces), expected)


def _table(rows: int = 400) -> pa.Table:
    draw = np.random.default_rng(3)
    who = np.array([f"customer {number}" for number in draw.integers(0, 40, rows)])
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=int(day)) for day in draw.integers(0, 90, rows)]
    label = draw.choice(["no", "yes"], rows, p=[0.9, 0.1])
    return pa.table({"x": draw.random(rows), "who": who, "day": pa.array(days), "label": label})


def _open(path: Path, by: By, column: str | None = None, **changes: Any) -> Dataset:
    options = {"features": None, "task": "classification", "seed": 1, **changes}
    return Dataset.open(str(path), 0.25, "label", split=SplitRule(by, column), **options)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_dataset_holds_them_out(tmp_path: Path, ending: str) -> None:
    """As rows of both parts, in any process, whatever the table's kind; the column is no feature unless it is named."""
    table, path = _table(), tmp_path / f"t.{ending}"
    if ending == "parquet":
        pq.write_table(table, path, row_group_size=37)
    else:
        pyarrow.csv.write_csv(table, path)
    for by, column in (("group", "who"), ("time", "day"), ("stratify", None)):
        dataset = _open(path, by, column, features=["x"])  # type: ignore[arg-type]
        again = pickle.loads(pickle.dumps(dataset))
        assert again == dataset
        seen = {}
        for part, rows in (("train", again.training_rows), ("validation", again.validation_rows)):
            found, places = again._read(part, 0, rows)
            np.testing.assert_array_equal(found["x"], table["x"].to_numpy()[places])
            seen[part] = table.take(places)
        assert again.training_rows + again.validation_rows == table.num_rows
        if by == "group":
            assert not set(seen["train"]["who"].to_pylist()) & set(seen["validation"]["who"].to_pylist())
            assert abs(again.validation_rows - 100) < 20
        elif by == "time":
            assert max(seen["train"]["day"].to_pylist()) < min(seen["validation"]["day"].to_pylist())
        else:
            share = [sum(word == "yes" for word in each["label"].to_pylist()) / each.num_rows for each in seen.values()]
            assert abs(share[0] - share[1]) < 0.02


class Others:
    """Do what is asked in what another process has; note it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.heard: list[tuple[str, int, int]] = []

    def results(self, tasks: Sequence[Any]) -> Iterator[Any]:
        self.asked += tasks
        for task in tasks:
            yield pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(task))()))

    def told(self, path: str, done: int, total: int) -> None:
        self.heard.append((path, done, total))

    def columns(self) -> list[tuple[int, int]]:
        return [(task.start, task.stop) for task in self.asked if isinstance(task, ColumnTask)]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table is."""
    monkeypatch.setattr(text_scan, "LEAST_BYTES", 0)
    monkeypatch.setattr(text_scan, "RANGE_BYTES", 8 * 4 * 70)  # rows of four columns


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("where", ["t.parquet", "t.csv", "t.csv.gz", "t.arrow", "many/*.parquet", "many/*.csv.gz"])
@pytest.mark.parametrize(("by", "column"), [("group", "who"), ("time", "day"), ("stratify", None), ("group", "x")])
def test_of_a_large_table_others_read_the_column(where: str, by: By, column: str | None, tmp_path: Path) -> None:
    """In ranges of rows, or what must be unpacked as a whole; the same rows are held out."""
    table = _table()
    names = ["many/0", "many/1", "many/2"] if "*" in where else [where.partition(".")[0]]
    (tmp_path / "many").mkdir()
    for number, name in enumerate(names):
        part = table.slice(number * 150, 150) if len(names) > 1 else table
        write(part, tmp_path / f"{name}.{where.partition('.')[2]}")
    alone, others = _open(tmp_path / where, by, column, features=["x"]), Others()
    together = _open(tmp_path / where, by, column, features=["x"], lookers=others)
    assert together.held_out == alone.held_out
    expected = [*range(0, 400, 70), 400]
    if where.endswith(".gz"):
        expected = [0, 150, 300, 400] if "*" in where else [0, 400]
    assert others.columns() == list(itertools.pairwise(expected))
    if others.heard[-1][0].endswith(f"column {column or 'label'!r}"):
        assert others.heard[-1][1:] == (3200, 3200)


def test_of_a_small_table_nobody_else_does(tmp_path: Path) -> None:
    pq.write_table(_table(), tmp_path / "t.parquet")
    others = Others()
    _open(tmp_path / "t.parquet", "group", "who", features=["x"], lookers=others)
    assert others.asked == []


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(("by", "column"), [("group", "who"), ("time", "day")])
def test_a_cell_that_others_meet_is_named_as_ever(by: By, column: str, tmp_path: Path) -> None:
    table = _table()
    values = table[column].to_pylist()
    values[290] = None
    table = table.set_column(table.schema.names.index(column), column, pa.array(values))
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=70)
    told = []
    for lookers in (None, Others()):
        with pytest.raises(DataError, match=r"row 291 ") as caught:
            _open(tmp_path / "t.parquet", by, column, features=["x"], lookers=lookers)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_times_of_text_with_a_zone_are_moments(tmp_path: Path) -> None:
    """The later one is held out, whatever it looks like."""
    when = [
        "2024-01-02T01:00:00+05:00",
        "2024-01-01T22:00:00Z",
        "2024-01-01T10:00:00-08:00",
        "2024-01-02T00:00:00+06:00",
    ]
    table = pa.table({"x": [1.0, 2, 3, 4], "when": when, "label": ["a", "b", "a", "b"]})
    pyarrow.csv.write_csv(table, tmp_path / "t.csv")
    dataset = _open(tmp_path / "t.csv", "time", "when", features=["x"])
    assert dataset._read("validation", 0, 1)[1].tolist() == [1]


def test_the_column_that_splits_is_no_feature_unless_it_is_named(tmp_path: Path) -> None:
    """Neither by default nor by a pattern."""
    pq.write_table(_table().drop_columns(["day"]), tmp_path / "t.parquet")
    assert _open(tmp_path / "t.parquet", "group", "who").features == ("x",)
    assert _open(tmp_path / "t.parquet", "group", "who", features=["*"]).features == ("x",)
    assert _open(tmp_path / "t.parquet", "group", "who", features=["*", "who"]).features == ("x", "who")


@pytest.mark.parametrize(
    ("by", "column", "cell", "words"),
    [
        ("group", "who", None, r"column 'who', row 3 .*missing; expected a value in each row"),
        ("time", "day", None, r"column 'day', row 3 .*missing; expected a time in each row"),
        ("time", "who", "customer 1", r"column 'who', row 1 .*'customer \d+'; expected a date such as"),
        ("group", "when", None, "no column 'when'"),
    ],
)
def test_a_column_that_cannot_split_is_named(tmp_path: Path, by: By, column: str, cell: Any, words: str) -> None:
    """With the first cell that is missing or no time."""
    table = _table()
    if column in table.schema.names:
        values = table[column].to_pylist()
        values[2] = cell
        table = table.set_column(table.schema.names.index(column), column, pa.array(values))
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=words):
        _open(tmp_path / "t.parquet", by, column, features=["x"])
