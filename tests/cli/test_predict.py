"""`dbp predict` and `dbp evaluate`: rows in their order, columns as they were, predictions that are the model's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

Dbp = Callable[..., Any]
DbpEach = Callable[..., list[Any]]
Start = Callable[..., Any]

REGRESSION = ("--set", "task=regression", "--set", "data.features=[a, b]", "--set", "optimizer.learning_rate=0.1")


def test_predictions_stand_beside_their_rows(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """The table's columns first and unchanged, then the model's own prediction and probabilities; a job id names the model."""
    from dbp.models.model import load_model

    ran = dbp("predict", "a-1", "table.csv", "-o", "out.parquet")
    assert (ran.code, ran.out) == (0, "out.parquet\n"), ran.err
    table, out = pyarrow.csv.read_csv(tmp_path / "table.csv"), pq.read_table(tmp_path / "out.parquet")
    assert out.column_names == ["a", "b", "c", "label", "prediction", "probability_high", "probability_low"]
    assert out.select(table.column_names).equals(table)
    model = load_model(trained / "model.safetensors")
    assert out["prediction"].to_pylist() == model.predict(table).tolist()
    expected = model.predict_probabilities(table)
    np.testing.assert_array_equal(np.column_stack([out["probability_high"], out["probability_low"]]), expected)
    np.testing.assert_allclose(expected.sum(axis=1), 1.0, rtol=1e-12)


def test_csv_parquet_and_stdout_say_the_same(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """A model file, a job directory and a job id name the same model; so do three ways to write."""
    to_pipe = dbp("predict", "a-1", "table.csv")
    to_csv = dbp("predict", "runs/a-1", "table.csv", "-o", "out.csv")
    to_parquet = dbp("predict", "runs/a-1/model.safetensors", "table.csv", "-o", "out.parquet", "--json")
    assert (to_pipe.code, to_csv.code, to_parquet.code) == (0, 0, 0)
    assert to_pipe.out == (tmp_path / "out.csv").read_text()
    assert pyarrow.csv.read_csv(tmp_path / "out.csv").equals(pq.read_table(tmp_path / "out.parquet"))
    assert to_parquet.json["rows"] == 60
    assert to_parquet.json["columns"] == ["prediction", "probability_high", "probability_low"]


def test_a_table_of_several_batches_keeps_its_order(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """200,000 rows in odd row groups, columns in another order and one more than the model knows: each row has its prediction."""
    from dbp.models.model import load_model

    random = np.random.default_rng(7)
    rows = 200_000
    table = pa.table(
        {"id": np.arange(rows), "c": random.random(rows), "b": random.random(rows), "a": random.random(rows)}
    )
    pq.write_table(table, tmp_path / "big.parquet", row_group_size=70_001)
    assert dbp("predict", "a-1", "big.parquet", "-o", "out.parquet").code == 0
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.select(table.column_names).equals(table)
    some = random.choice(rows, 500, replace=False)
    assert (
        out["prediction"].take(some).to_pylist()
        == load_model(trained / "model.safetensors").predict(table.take(some)).tolist()
    )


def test_predictions_without_probabilities(dbp: Dbp, trained: Path) -> None:
    """--no-probabilities leaves one column."""
    header = dbp("predict", "a-1", "table.csv", "--no-probabilities").out.splitlines()[0]
    assert header == '"a","b","c","label","prediction"'


def test_one_and_several_targets_of_a_regression(dbp: Dbp, job_file: Path) -> None:
    """One target: prediction. Several: prediction_<target>. Neither has probabilities, and asking for them says so."""
    dbp("run", job_file, "--id", "one", "-q", *REGRESSION, "--set", "data.target=c")
    several = ("--set", "data.target=[c, b]", "--set", "data.features=[a]")
    ran = dbp("run", job_file, "--id", "two", "-q", *REGRESSION, *several)
    assert ran.code == 0, ran.err
    assert dbp("predict", "one", "table.csv").out.splitlines()[0].endswith('"label","prediction"')
    assert dbp("predict", "two", "table.csv").out.splitlines()[0].endswith('"label","prediction_c","prediction_b"')
    refused = dbp("predict", "one", "table.csv", "--probabilities")
    assert (refused.code, refused.out) == (2, "")
    assert "no class probabilities" in refused.err


def test_a_table_without_rows(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """Columns, and no rows."""
    table = pa.table({name: pa.array([], pa.float64()) for name in "abc"})
    pq.write_table(table, tmp_path / "none.parquet")
    assert dbp("predict", "a-1", "none.parquet", "-o", "out.parquet").code == 0
    out = pq.read_table(tmp_path / "out.parquet")
    assert (out.num_rows, out.column_names[3:]) == (0, ["prediction", "probability_high", "probability_low"])


def test_nothing_is_overwritten(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """Never the table that is read (not even by a link, nor with --force); another file only with --force."""
    before = (tmp_path / "table.csv").read_bytes()
    os.link(tmp_path / "table.csv", tmp_path / "link.csv")
    for out in ("table.csv", "link.csv"):
        ran = dbp("predict", "a-1", "table.csv", "-o", out, "--force")
        assert (ran.code, "is the table that is read" in ran.err) == (2, True)
    (tmp_path / "there.csv").write_text("mine")
    assert dbp("predict", "a-1", "table.csv", "-o", "there.csv").code == 2
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert dbp("predict", "a-1", "table.csv", "-o", "there.csv", "--force").code == 0
    assert "prediction" in (tmp_path / "there.csv").read_text()
    assert (tmp_path / "table.csv").read_bytes() == before


def test_names_that_are_taken(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """A table with predictions already is refused, by the name of the column."""
    dbp("predict", "a-1", "table.csv", "-o", "out.csv")
    ran = dbp("predict", "a-1", "out.csv")
    assert (ran.code, ran.out) == (2, "")
    assert "out.csv: has a column 'prediction' already" in ran.err


def test_a_bad_cell_late_in_the_table(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """The message names file, column and row, counted over the whole table; no half-written file is left."""
    values = np.zeros(150_000)
    values[140_000] = np.nan
    pq.write_table(pa.table({"a": np.zeros(150_000), "b": values, "c": values * 0 + 1}), tmp_path / "bad.parquet")
    before = sorted(tmp_path.iterdir())
    ran = dbp("predict", "a-1", "bad.parquet", "-o", "out.parquet")
    assert ran.code == 2
    for part in ("bad.parquet", "'b'", "140001"):
        assert part in ran.err
    assert sorted(tmp_path.iterdir()) == before


BAD = {
    ("a-1", "nothing.csv"): "nothing.csv: no such file",
    ("a-1", "short.csv"): "no column 'c'",
    ("a-1", "table.csv", "-o", "out.txt"): "expected a name that ends in .parquet or .csv",
    ("a-1", "table.csv", "-o", "no/out.csv"): "no/out.csv: cannot be written",
    ("a-1", "table.csv", "--json"): "say where it goes with -o FILE",
    ("a-2", "table.csv"): "did you mean a-1?",
    ("table.csv", "table.csv"): "table.csv: ",
    ("nothing.safetensors", "table.csv"): "nothing.safetensors: no such file",
    ("runs/a-1/checkpoints/step-00000020.safetensors", "table.csv"): "not a model file",
}


def test_bad_input(dbp_each: DbpEach, trained: Path, tmp_path: Path) -> None:
    """Exit code 2, the words, no traceback, no file."""
    (tmp_path / "short.csv").write_text("b,a\n1,2\n")
    before = sorted(tmp_path.rglob("*"))
    commands = [("predict", *arguments) for arguments in BAD]
    for words, ran in zip(BAD.values(), dbp_each(commands), strict=True):
        assert (ran.code, ran.out) == (2, ""), ran.err
        assert words in ran.err
        assert "Traceback" not in ran.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_reader_that_has_enough(start: Start, trained: Path, tmp_path: Path) -> None:
    """`dbp predict MODEL TABLE | head -1`: quiet, no matter how much is left."""
    random = np.random.default_rng(7)
    pq.write_table(pa.table({name: random.random(300_000) for name in "abc"}), tmp_path / "big.parquet")
    process = start("predict", "a-1", "big.parquet")
    assert process.stdout.readline().startswith('"a","b","c","prediction"')
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""


def test_evaluate_measures_the_model(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """Accuracy as counted by hand from the predictions; text and JSON agree."""
    metrics = dbp("evaluate", "a-1", "table.csv", "--json").json
    dbp("predict", "a-1", "table.csv", "-o", "out.parquet")
    out = pq.read_table(tmp_path / "out.parquet")
    right = sum(
        seen == known for seen, known in zip(out["prediction"].to_pylist(), out["label"].to_pylist(), strict=True)
    )
    assert (metrics["rows"], metrics["accuracy"]) == (60, right / 60)
    text = dbp("evaluate", "a-1", "table.csv").out
    assert f"{metrics['accuracy']:.6g}" in text


def test_evaluate_needs_the_target(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """A table without it: exit code 2, and the column's name."""
    (tmp_path / "short.csv").write_text("a,b,c\n1,2,3\n")
    ran = dbp("evaluate", "a-1", "short.csv")
    assert (ran.code, ran.out) == (2, "")
    assert "'label'" in ran.err
