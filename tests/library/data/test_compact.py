"""`data.compact`: the same bits as encoded rows, less memory, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dbp
from dbp.errors import DataError
from dbp.workers.memory_check import need_of
from dbp.workers.preparation import open_dataset, raw_workload

DRAW = np.random.default_rng(3)
ROWS = 3_000
KINDS: dict[str, dict[str, np.ndarray]] = {
    "uint8": {f"x{i}": DRAW.integers(0, 256, ROWS).astype("u1") for i in range(5)},
    "int8": {f"x{i}": DRAW.integers(-128, 128, ROWS).astype("i1") for i in range(5)},
    "float16": {f"x{i}": (DRAW.standard_normal(ROWS) * 10.0**i).astype("f2") for i in range(4)},
    "uint8 and truth": {"a": DRAW.integers(0, 256, ROWS).astype("u1"), "b": DRAW.random(ROWS) < 0.3},
    "all": {
        "a": DRAW.integers(0, 256, ROWS).astype("u1"),
        "b": DRAW.random(ROWS) < 0.3,
        "c": DRAW.integers(-128, 128, ROWS).astype("i1"),
        "d": DRAW.standard_normal(ROWS).astype("f2"),
    },
}


def job(folder: Path, columns: dict[str, Any], *overrides: str) -> dbp.Job:
    first = np.asarray(next(iter(columns.values())), dtype=np.float64)
    target = np.sin(np.nan_to_num(first, posinf=0) / 50)
    pq.write_table(pa.table({**columns, "y": target}), folder / "t.parquet", row_group_size=700)
    text = f"""\
name: compact
data: {{train: t.parquet, validation: 0.2, target: y}}
task: regression
network: {{hidden: [6]}}
optimizer: {{name: lbfgs}}
training: {{max_steps: 6, validate_every: 2}}
workers: 0
storage: {folder}/runs
"""
    return dbp.Job.from_text(text, folder=folder, overrides=overrides)


def outcome(trained: Any) -> tuple[object, ...]:
    return trained.summary.parameters_sha256, trained.summary.validation, [step.loss for step in trained.history]


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bits_are_those_of_encoded_rows(tmp_path, kind, precision):
    asked = [f"training.precision={precision}"]
    plain = dbp.train(job(tmp_path, KINDS[kind], *asked))
    compact = dbp.train(job(tmp_path, KINDS[kind], *asked, "data.compact=true"))
    assert outcome(compact) == outcome(plain)


@pytest.mark.parametrize(
    "more",
    [
        ["training.batch=500", "optimizer={name: adam}"],
        ["data.cache=disk"],
        ["optimizer={name: levenberg_marquardt}"],
        ["data.standardize=false", "training.restarts=2"],
    ],
    ids=["batches", "disk", "curvature", "restarts"],
)
def test_the_bits_are_the_same_in_every_kind_of_sum(tmp_path, more):
    plain = dbp.train(job(tmp_path, KINDS["all"], *more))
    compact = dbp.train(job(tmp_path, KINDS["all"], *more, "data.compact=true"))
    assert outcome(compact) == outcome(plain)


def test_it_is_no_other_job_and_can_be_chosen_on_resume(tmp_path):
    plain, compact = job(tmp_path, KINDS["uint8"]), job(tmp_path, KINDS["uint8"], "data.compact=true")
    assert plain.fingerprint() == compact.fingerprint()
    directory = dbp.train(plain).directory
    longer = dbp.resume(directory, overrides=["data.compact=true", "training.max_steps=9"])
    whole = dbp.train(job(tmp_path, KINDS["uint8"], "training.max_steps=9"))
    assert longer.summary.parameters_sha256 == whole.summary.parameters_sha256


def test_rows_take_a_quarter_of_the_memory(tmp_path):
    columns = {f"x{i}": np.zeros(200_000, "u1") for i in range(40)}

    def rows(*overrides: str) -> int:
        asked = job(tmp_path, columns, *overrides)
        dataset = open_dataset(asked)
        return need_of(asked, dataset, raw_workload(asked, dataset), 1).rows

    plain, compact = rows(), rows("data.compact=true")
    assert plain == 200_000 * 41 * 4
    assert compact == 200_000 * (40 + 4)


@pytest.mark.parametrize(
    ("column", "more", "words"),
    [
        (DRAW.standard_normal(ROWS), [], "column 'odd' holds double; expected columns of uint8"),
        (["x", "y"] * (ROWS // 2), [], "column 'odd' is a category"),
        (np.zeros(ROWS, "u1"), ["data.impute=mean"], "column '.*' is filled by data.impute"),
    ],
)
def test_what_is_not_narrow_is_refused_by_name(tmp_path, column, more, words):
    with pytest.raises(DataError, match=f"data.compact: {words}"):
        dbp.train(job(tmp_path, {"a": np.zeros(ROWS, "u1"), "odd": column}, "data.compact=true", *more))


def test_a_bad_cell_is_named_as_ever(tmp_path):
    columns = {"a": np.where(np.arange(ROWS) == 1700, np.inf, 1.0).astype("f2"), "b": np.arange(ROWS).astype("u1")}
    with pytest.raises(DataError, match="column 'a', row 1701"):
        dbp.train(job(tmp_path, columns, "data.compact=true"))
