"""Datasets: the rows of a job's parts, the same in every process; and what cannot be one."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from dbp.data.dataset import Dataset
from dbp.data.encoding import Encoding
from dbp.data.split import Split
from dbp.errors import DataError

F8 = np.dtype("float64")
ROWS = 500


@pytest.fixture
def table(tmp_path: Path) -> pa.Table:
    random = np.random.default_rng(4)
    labels = pa.array(random.choice(["x", "y"], ROWS)).dictionary_encode()
    table = pa.table({"id": np.arange(ROWS), "a": random.random(ROWS), "label": labels})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=90)
    pyarrow.csv.write_csv(table.set_column(2, "label", table["label"].cast(pa.string())), tmp_path / "t.csv")
    return table


def _open(path: Path, validation: float | str | None = 0.3, target: str = "label", **changes: object) -> Dataset:
    options = {"features": None, "task": "classification", "seed": 3, **changes}
    return Dataset.open(str(path), validation, target, **options)


def _encoding(dataset: Dataset) -> Encoding:
    summary = dataset.summarize("train", 0, dataset.training_rows)
    return Encoding.from_summary(
        summary,
        features=dataset.features,
        targets=dataset.targets,
        task=dataset.task,
        standardize=False,
        standardize_target=False,
    )


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_each_part_has_its_rows(table: pa.Table, tmp_path: Path, name: str) -> None:
    """The rows of the split, in the table's order, features and classes side by side; in pieces as in one."""
    dataset = _open(tmp_path / name)
    assert (dataset.features, dataset.training_rows, dataset.validation_rows) == (("id", "a"), 350, 150)
    encoding, split = _encoding(dataset), Split(ROWS, 0.3, 3)
    for part, rows in (("train", split.rows(False, 0, 350)), ("validation", split.rows(True, 0, 150))):
        inputs, classes, _ = dataset.encode(part, 0, len(rows), encoding, F8)
        np.testing.assert_array_equal(inputs[:, 0], rows)
        np.testing.assert_array_equal(inputs[:, 1], np.asarray(table["a"])[rows])
        assert encoding.decode(classes).tolist() == table["label"].take(rows).to_pylist()
        pieces = [
            dataset.encode(part, start, min(start + 47, len(rows)), encoding, F8) for start in range(0, len(rows), 47)
        ]
        np.testing.assert_array_equal(np.concatenate([piece[0] for piece in pieces]), inputs)
        np.testing.assert_array_equal(np.concatenate([piece[1] for piece in pieces]), classes)


def test_summaries_of_pieces_add_up(table: pa.Table, tmp_path: Path) -> None:
    """As sharded sums are made: pieces of a part, added, are the part."""
    dataset = _open(tmp_path / "t.parquet")
    whole = dataset.summarize("train", 0, 350)
    pieces = [dataset.summarize("train", start, min(start + 100, 350)) for start in range(0, 350, 100)]
    total = pieces[0].add(pieces[1]).add(pieces[2].add(pieces[3]))
    np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-13)
    np.testing.assert_allclose(total.m2, whole.m2, rtol=1e-12)
    assert total.labels == whole.labels


def test_a_validation_table_of_its_own(table: pa.Table, tmp_path: Path) -> None:
    """All of the training table is learnt from, and the other table's columns are found by name."""
    pq.write_table(table.slice(0, 40).select(["label", "a", "id"]), tmp_path / "v.parquet")
    dataset = _open(tmp_path / "t.parquet", str(tmp_path / "v.parquet"))
    assert (dataset.training_rows, dataset.validation_rows) == (ROWS, 40)
    inputs, *_ = dataset.encode("validation", 10, 20, _encoding(dataset), F8)
    np.testing.assert_array_equal(inputs[:, 0], np.arange(10, 20))
    assert dataset.fingerprint() != _open(tmp_path / "t.parquet").fingerprint()
    assert _open(tmp_path / "t.parquet", None).validation_rows == 0


def test_a_validation_column_without_a_value(tmp_path: Path) -> None:
    """A CSV file guesses true/false for it, and Parquet may say that it has no type: it fits text, dates and numbers alike."""
    from dbp.data.column_plan import ColumnOptions

    columns = {
        "c": ["u", None, "v"],
        "d": ["2024-01-01", None, "2024-03-01"],
        "n": [1.5, None, 3.0],
        "y": [0.0, 1.0, 2.0],
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    options = ColumnOptions(dates=(("d", ("month",)),), impute=(("c", "class"), ("*", "median")))
    pq.write_table(pa.table({name: pa.nulls(2) for name in "cdn"} | {"y": [1.0, 2.0]}), tmp_path / "v.parquet")
    (tmp_path / "v.csv").write_text("c,d,n,y\n,,,1\n,,,2\n")
    for ending in ("parquet", "csv"):
        validation = str(tmp_path / f"v.{ending}")
        dataset = Dataset.open(str(tmp_path / "t.parquet"), validation, "y", None, "regression", 0, columns=options)
        training, seen = dataset.summarize("train", 0, 3), dataset.summarize("validation", 0, 2)
        dataset.check(training, seen)
        assert not seen.bad
        assert seen.vocabularies["c"].missing == 2
        assert not any(seen.counts[seen.names.index(name)] for name in ("d.month", "n"))


def test_a_value_in_a_column_of_another_type(tmp_path: Path) -> None:
    """One is enough, in whichever row; the training table's types are its own."""
    pq.write_table(pa.table({"c": ["u", "v"], "y": [0.0, 1.0]}), tmp_path / "t.parquet")
    (tmp_path / "v.csv").write_text("c,y\n,1\ntrue,2\n")
    with pytest.raises(DataError, match="column 'c' holds bool; expected string, as in training"):
        Dataset.open(str(tmp_path / "t.parquet"), str(tmp_path / "v.csv"), "y", None, "regression", 0)


def test_a_dataset_travels(table: pa.Table, tmp_path: Path) -> None:
    """Small when pickled though its tables are open, and another process reads the very same rows."""
    dataset = _open(tmp_path / "t.parquet")
    encoding = _encoding(dataset)
    sent = pickle.dumps((dataset, encoding))
    assert len(sent) < 2000
    assert pickle.loads(sent) == (dataset, encoding)
    program = (
        "import pickle, sys, numpy; dataset, encoding = pickle.load(sys.stdin.buffer);"
        "sys.stdout.buffer.write(dataset.encode('train', 30, 200, encoding, numpy.dtype('float64'))[0].tobytes())"
    )
    done = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
    assert done.stdout == dataset.encode("train", 30, 200, encoding, F8)[0].tobytes()


def test_rows_are_told_as_the_file_counts_them(tmp_path: Path) -> None:
    """A number too large for float32 among rows dealt out by the split: the row of the file."""
    values = np.arange(100.0)
    row = int(Split(100, 0.3, 3).rows(False, 50, 51)[0])
    values[row] = 1e60
    pq.write_table(pa.table({"a": values, "y": np.arange(100.0)}), tmp_path / "t.parquet")
    dataset = _open(tmp_path / "t.parquet", target="y", task="regression")
    with pytest.raises(
        DataError, match=rf"column 'a', row {row + 1} .*1e\+60; expected a number that float32 can hold"
    ):
        dataset.encode("train", 40, 60, _encoding(dataset), np.dtype("float32"))


def test_a_file_that_shrank(table: pa.Table, tmp_path: Path) -> None:
    """Rows that were counted and are gone are not made up: a piece of text is not what it was, or has fewer rows."""
    dataset = _open(tmp_path / "t.csv", None)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "t.csv").write_text("\n".join(lines[:400]) + "\n")
    with pytest.raises(DataError, match=r"t\.csv: rows 1 to 500 .* are not what they were when the job began; has"):
        dataset.summarize("train", 300, 500)
    np.savez(tmp_path / "t.npz", x=np.ones((400, 2)), y=np.arange(400))
    dataset = Dataset(str(tmp_path / "t.npz"), None, ("x0", "x1"), ("y",), "regression", 0)
    with pytest.raises(DataError, match="rows 301 to 500 are not there; has the file changed"):
        dataset.summarize("train", 300, 500)


REFUSED = {
    "no target": ({"target": "lable"}, "no column 'lable' (did you mean 'label'?)"),
    "no feature": ({"features": ["a", "idd"]}, "no column 'idd' (did you mean 'id'?)"),
    "target as feature": ({"features": ["a", "label"]}, "'label' is the target and listed in data.features"),
    "text as quantity": ({"task": "regression", "features": ["a"]}, "column 'label', row 1 "),
    "no features left": ({"features": []}, "expected features to learn from"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_columns_that_cannot_be(table: pa.Table, tmp_path: Path, case: str) -> None:
    """Told from the metadata (and for text from its first cell), with the file's name."""
    changes, words = REFUSED[case]
    with pytest.raises(DataError) as refusal:
        _open(tmp_path / "t.parquet", **changes)
    assert words in str(refusal.value)
    assert str(refusal.value).startswith(f"{tmp_path}/t.parquet: ")


@pytest.mark.parametrize("cell", ["tall", "1_0", "0x", "1,5"])
def test_the_first_cell_that_is_no_number(tmp_path: Path, cell: str) -> None:
    """Cells that Python's float would take and the reader does not are found too; blanks around numbers do no harm."""
    lines = ["a;b".replace(";", ",")] + ['" 7",1'] * 70_000 + [f'"{cell}",1', '"short",2']
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError) as refusal:
        _open(tmp_path / "t.csv", target="b")
    assert f"column 'a', row 70001 (counted from 1, header not counted): {cell!r}; expected numbers" in str(
        refusal.value
    )


def test_too_many_rows_for_a_share(monkeypatch: pytest.MonkeyPatch, table: pa.Table, tmp_path: Path) -> None:
    """Said before anything is drawn, with the way out; a validation table has no such limit."""

    monkeypatch.setattr("dbp.data.checks.MOST_SPLIT_ROWS", 499)
    with pytest.raises(DataError, match=r"500 rows cannot be split .* at most 499. Name a validation table"):
        _open(tmp_path / "t.parquet")
    assert _open(tmp_path / "t.parquet", str(tmp_path / "t.csv")).training_rows == ROWS


def test_the_most_rows_that_can_be_split() -> None:
    """The limit is the generator's own."""
    from dbp.data.checks import MOST_SPLIT_ROWS

    split = Split(MOST_SPLIT_ROWS, 0.1, 0)
    assert len(split.rows(True, 10, 20)) == 10
    with pytest.raises(ValueError):
        Split(MOST_SPLIT_ROWS + 1, 0.1, 0)
