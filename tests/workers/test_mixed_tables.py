"""Jobs on tables of numbers, categories and dates with holes: the same bits whoever computes, and models that take such tables."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import dbp
from dbp.errors import DataError, JobFileError

ROWS = 1200
JOB = """\
name: mixed
data:
  train: {train}
  validation: 0.2
  validation_split: {{group: who}}
  target: late
  categories: [zone]
  rare_below: 40
  unknown: other
  dates: {{when: [month, weekday, hour]}}
  impute: {{size: median, carrier: class}}
  missing_indicator: true
task: classification
network: {{hidden: [6]}}
optimizer: {{name: lbfgs}}
training: {{max_steps: 12}}
"""


def _table(rows: int = ROWS, seed: int = 8) -> pa.Table:
    draw = np.random.default_rng(seed)
    hours = draw.integers(0, 20_000, rows)
    carrier = draw.choice(["north", "south", "east", "west", "tiny"], rows, p=[0.4, 0.3, 0.17, 0.12, 0.01])
    late = (carrier == "south") & (hours % 24 > 8) | (draw.random(rows) < 0.1)
    return pa.table(
        {
            "size": pa.array(draw.standard_normal(rows) * 3 + 20, mask=draw.random(rows) < 0.1),
            "carrier": pa.array(carrier, mask=draw.random(rows) < 0.1),
            "zone": draw.integers(1, 5, rows),
            "when": [dt.datetime(2024, 1, 1) + dt.timedelta(hours=int(hour)) for hour in hours],
            "who": [f"customer {number}" for number in draw.integers(0, 90, rows)],
            "late": np.where(late, "yes", "no"),
        }
    )


def _job(folder: Path, *overrides: str, name: str = "t.parquet") -> dbp.Job:
    storage = f"storage={json.dumps(str(folder / 'runs'))}"
    return dbp.Job.from_text(JOB.format(train=name), folder=folder, overrides=[storage, *overrides])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table as Parquet and as CSV."""
    folder = tmp_path_factory.mktemp("mixed")
    pq.write_table(_table(), folder / "t.parquet", row_group_size=170)
    pyarrow.csv.write_csv(_table(), folder / "t.csv")
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> dbp.Result:
    """The job, trained in this process."""
    return dbp.train(_job(folder), workers=0)


def test_it_learns(result: dbp.Result) -> None:
    """What decides is a category and the hour of a date: better than always `no`, on rows of other customers."""
    always_no = 1 - np.mean(np.array(_table()["late"].to_pylist()) == "yes")
    assert result.summary.validation["accuracy"] > always_no + 0.05


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_bits(folder: Path, result: dbp.Result, workers: int) -> None:
    """Vocabularies, medians and held-out groups included."""
    found = dbp.train(_job(folder), workers=workers)
    assert found.summary.parameters_sha256 == result.summary.parameters_sha256
    assert found.model.encoding == result.model.encoding


def test_csv_gives_the_bits_of_parquet(folder: Path, result: dbp.Result) -> None:
    """Dates that are text in one and timestamps in the other, and holes that are empty cells."""
    found = dbp.train(_job(folder, name="t.csv"), workers=0)
    assert found.summary.parameters_sha256 == result.summary.parameters_sha256


def test_the_model_file_takes_tables_as_the_job_said(folder: Path, result: dbp.Result) -> None:
    """Loaded again: new rows in any order of columns, classes never seen, missing values; a file or a table."""
    model = dbp.load_model(result.directory / "model.safetensors")
    assert model.encoding.to_json() == result.model.encoding.to_json()
    table = _table(200, seed=9)
    expected = result.model.predict(table)
    np.testing.assert_array_equal(model.predict(table.select(table.schema.names[::-1])), expected)
    pyarrow.csv.write_csv(table, folder / "new.csv")
    np.testing.assert_array_equal(model.predict(folder / "new.csv"), expected)
    row = {"size": [None], "carrier": ["unheard of"], "zone": [2], "when": [dt.datetime(2025, 5, 5, 5)]}
    other = {**row, "carrier": ["tiny"]}
    np.testing.assert_array_equal(
        model.predict_probabilities(pa.table(row)), model.predict_probabilities(pa.table(other))
    )
    assert set(model.predict(pa.table(row))) <= {"yes", "no"}
    assert 0 <= model.evaluate(table)["accuracy"] <= 1
    with pytest.raises(DataError, match="'carrier', 'zone', 'when' cannot be taken from an array"):
        model.predict(np.zeros((1, 4)))
    with pytest.raises(DataError, match="no column 'zone'"):
        model.predict(table.drop_columns(["zone"]))


def test_validation_rows_with_a_class_that_no_training_row_has_are_refused_before_training(folder: Path) -> None:
    """Both parts are counted; the message names file, column and class."""
    table = _table(100, seed=2)
    places = table.schema.names.index("carrier")
    odd = table.set_column(places, "carrier", pa.array(["airship", *table["carrier"].to_pylist()[1:]]))
    pq.write_table(odd, folder / "v.parquet")
    plain = ["data.validation_split=null", "data.validation=v.parquet", "data.unknown=refuse", "data.rare_below=0"]
    plain[1] = f"data.validation={json.dumps(str(folder / 'v.parquet'))}"
    with pytest.raises(DataError, match=r"v\.parquet: column 'carrier' has classes .* no training row has: 'airship'"):
        dbp.train(_job(folder, *plain), workers=0)
    taken = dbp.train(_job(folder, *plain[:2], "data.unknown=zeros"), workers=0)
    assert taken.summary.validation["accuracy"] > 0


def test_another_job_can_start_from_the_model(folder: Path, result: dbp.Result) -> None:
    """With its vocabulary, also where the new rows have fewer classes; a job that means other inputs is refused by name."""
    start = f"network.start_from={json.dumps(str(result.directory / 'model.safetensors'))}"
    few = _table(300, seed=4)
    few = few.filter(pa.compute.not_equal(few["zone"], 3))
    pq.write_table(few, folder / "few.parquet")
    found = dbp.train(_job(folder, start, name="few.parquet"), workers=0)
    assert found.model.encoding.to_json() == result.model.encoding.to_json()
    refusing = ["data.unknown=refuse", "data.rare_below=0"]
    first = dbp.train(_job(folder, *refusing), workers=0)
    again = f"network.start_from={json.dumps(str(first.directory / 'model.safetensors'))}"
    held = ["data.validation_split=null", "data.drop=[who]", f"data.validation={json.dumps(str(folder / 't.parquet'))}"]
    # Zone 3 is among the validation rows, and in the model, but in no new training row.
    assert dbp.train(_job(folder, again, *refusing, *held, name="few.parquet"), workers=0).summary.validation
    with pytest.raises(JobFileError, match=r"column 'zone' is a number in the job, a category in the model"):
        dbp.train(_job(folder, start, "data.categories=[]"), workers=0)
    with pytest.raises(JobFileError, match=r"data\.unknown: .?zeros.? in the job, .?other.? in the model"):
        dbp.train(_job(folder, start, "data.unknown=zeros"), workers=0)
    with pytest.raises(JobFileError, match=r"column 'when' is hour in the job, month, weekday, hour in the model"):
        dbp.train(_job(folder, start, "data.dates={when: [hour]}"), workers=0)
    with pytest.raises(
        JobFileError, match=r"data\.impute: column 'carrier' has missing values refused in the job, taken"
    ):
        dbp.train(_job(folder, start, "data.impute={size: mean}"), workers=0)


def test_a_job_is_resumed_with_its_encoding(folder: Path, result: dbp.Result) -> None:
    """Stopped half-way, the checkpoints keep the encoding: the same bits as in one go."""
    half = dbp.train(_job(folder, "training.max_steps=5"), workers=0)
    text = (half.directory / "job.yaml").read_text().replace("max_steps: 5", "max_steps: 12")
    (half.directory / "job.yaml").write_text(text)
    assert dbp.resume(half.directory, workers=0).summary.parameters_sha256 == result.summary.parameters_sha256
