"""The same rows in any format, and cut into any files, train the same network to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from table_files import NAMED, WIDTH, write

import dbp

ROWS = 700


@pytest.fixture(scope="module")
def original() -> pa.Table:
    draw = np.random.default_rng(4)
    columns = {str(column): draw.standard_normal(ROWS) * (draw.random(ROWS) < 0.5) for column in range(1, WIDTH + 1)}
    return pa.table({"label": np.arange(ROWS) % 3, **columns})


def trained(place: Path, storage: Path) -> str:
    """Return the SHA-256 of the parameters after a few steps on a table."""
    job = dbp.Job.from_text(
        f"""
name: formats
data: {{train: "{place}", validation: 0.25, target: label}}
task: classification
network: {{hidden: [5]}}
optimizer: {{name: gradient_descent, learning_rate: 0.5}}
training: {{max_steps: 4, batch: 60}}
storage: {storage}
workers: 0
"""
    )
    return dbp.train(job).model.parameters_sha256


@pytest.fixture(scope="module")
def of_parquet(original: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("parquet")
    return trained(write(original, folder / "t.parquet"), folder)


@pytest.mark.parametrize("ending", NAMED)
def test_any_format_gives_the_parameters_of_parquet(
    ending: str, original: pa.Table, of_parquet: str, tmp_path: Path
) -> None:
    """One file, and a folder of three."""
    assert trained(write(original, tmp_path / f"t{ending}"), tmp_path) == of_parquet
    (tmp_path / "many/b").mkdir(parents=True)
    write(original.slice(0, 300), tmp_path / f"many/a{ending}")
    write(original.slice(300, 1), tmp_path / f"many/b/c{ending}")
    write(original.slice(301), tmp_path / f"many/c{ending}")
    assert trained(tmp_path / "many", tmp_path) == of_parquet


def test_partitions_give_the_parameters_of_the_column(original: pa.Table, of_parquet: str, tmp_path: Path) -> None:
    """The label in the folders' names, where the rows are sorted by it; another order of rows is another table."""
    for part in range(3):
        (tmp_path / f"many/label={part}").mkdir(parents=True)
        rows = original.filter(pc.equal(original["label"], part)).drop_columns("label")
        write(rows, tmp_path / f"many/label={part}/rows.parquet")
    order = np.argsort(np.asarray(original["label"]), kind="stable")
    whole = trained(write(original.take(order), tmp_path / "sorted.parquet"), tmp_path)
    assert trained(tmp_path / "many", tmp_path) == whole != of_parquet
