"""Rows in spans: whatever spans are asked for, in whatever order, they are the table's rows; and what is written of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dbp.data.csv
import dbp.data.parquet
import dbp.models.prediction
from dbp import Model, Network
from dbp.data.encoding import Encoding
from dbp.data.open_table import open_table
from dbp.errors import DataError
from dbp.models.evaluating import EvaluationTask, Evaluator
from dbp.models.prediction import Predictions, prediction_file, write_predictions
from dbp.models.spans import SpanReader, here, spans

ROWS = 100


def model() -> Model:
    network = Network((2, 3), ("identity",))
    encoding = Encoding(("a", "b"), (0.0, 0.0), (1.0, 1.0), ("kind",), "classification", ("x", "y", "z"))
    return Model(network, network.initial_parameters(0, "float64"), encoding, "cross_entropy")


def table(rows: int = ROWS) -> pa.Table:
    random = np.random.default_rng(0)
    names = np.array(["x", "y", "z"])
    return pa.table(
        {
            "n": np.arange(rows),
            "a": random.standard_normal(rows),
            "kind": names[random.integers(0, 3, rows)],
            "text": ["a,b", 'say "no"', "", "two\nlines", "=1+1"] * (rows // 5),
            "b": random.standard_normal(rows),
        }
    )


def write(columns: pa.Table, path: Path, **options: Any) -> str:
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(columns, path)
    else:
        pq.write_table(columns, path, **options)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("spans")
    named = {"row groups": "t.parquet", "csv": "t.csv"}
    return {case: write(table(), folder / name, row_group_size=17) for case, name in named.items()}


@pytest.mark.parametrize("case", ["row groups", "csv"])
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.lists(st.tuples(st.integers(0, ROWS), st.integers(0, 40)), min_size=1, max_size=6),
    batch_rows=st.integers(1, 30),
)
def test_any_span_in_any_order(
    case: str, files: dict[str, str], wanted: list[tuple[int, int]], batch_rows: int
) -> None:
    """Backwards, again, with gaps, empty: the numbers of the rows, and where they come from."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (dbp.data.parquet, dbp.data.csv):
            patch.setattr(module, "BATCH_ROWS", batch_rows)
        reader = SpanReader(open_table(files[case]), ("n",), "a table")
        for start, rows in wanted:
            stop = min(start + rows, ROWS)
            batches = list(reader.batches(start, stop))
            found = [n for batch in batches for n in batch.rows["n"].to_pylist()]
            assert found == list(range(start, stop))
            assert all(batch.first_row == batch.rows["n"][0].as_py() for batch in batches)
            assert {batch.source for batch in batches} <= {"a table"}


def test_spans_cover_the_rows() -> None:
    assert spans(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert spans(8, 4) == [(0, 4), (4, 8)]
    assert spans(0, 4) == []


def test_a_table_that_shrinks_while_it_is_read(files: dict[str, str]) -> None:
    """One line, and no endless wait."""
    file = open_table(files["csv"])
    file.row_count = 120  # type: ignore[misc]  # as it was when it was opened
    with pytest.raises(DataError, match="ends at row 100, and had 120 rows when it was opened"):
        list(SpanReader(file, ("n",)).batches(90, 120))


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_what_is_written_does_not_depend_on_how_it_is_read(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes from any row groups and batches; text with quotes, commas and line breaks, and categories, as they were."""
    monkeypatch.setattr(dbp.models.prediction, "_PIECE_NUMBERS", 130)  # 13 rows
    columns = table()
    kinds = columns["kind"].combine_chunks().dictionary_encode()
    columns = columns.append_column("category", kinds)
    whole, written = None, []
    for rows in (7, 40, 100):
        source = write(columns, tmp_path / f"t{rows}.parquet", row_group_size=rows)
        predictions = Predictions.of(model(), open_table(source), None)
        task = predictions.task(parquet=ending == "parquet")
        assert task.piece_rows == 13
        out = tmp_path / f"out{rows}.{ending}"
        heard: list[str] = []
        with prediction_file(out) as file:
            assert write_predictions(task, here(task, predictions.table), file, source, heard.append) == ROWS
        assert len(heard) == (ending == "csv")
        written.append(out.read_bytes())
    assert written[0] == written[1] == written[2]
    if ending == "parquet":
        whole = pq.read_table(out)
        assert [whole[name].to_pylist() for name in columns.column_names] == [
            columns[name].to_pylist() for name in columns.column_names
        ]
        assert pq.ParquetFile(out).metadata.row_group(0).num_rows == 13
        assert whole["prediction"].to_pylist() == model().predict(columns).tolist()


def test_progress_counts_rows(files: dict[str, str]) -> None:
    """After each span; the results are those of the model."""
    heard: list[tuple[int, int]] = []
    file = open_table(files["row groups"])
    evaluator = Evaluator(model(), file.row_count)
    object.__setattr__(evaluator, "part_rows", 8)
    task = EvaluationTask(evaluator)
    found = evaluator.result((part for parts in here(task, file, lambda *at: heard.append(at)) for part in parts), "t")
    assert heard == [(32, 100), (64, 100), (96, 100), (100, 100)]
    assert found.rows == ROWS
    assert found["accuracy"] == model().evaluate(files["row groups"])["accuracy"]
