"""The coordinator opens a table without reading it: of text the first mebibyte, of an archive the headers. Workers do the rest."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from counted_reads import counted

import dbp
from dbp.errors import DataError
from dbp.training.observers import Observer
from dbp.workers.opening import Opening

ROWS = 50_000
MEBIBYTE = 1 << 20


@pytest.fixture(autouse=True)
def read(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The bytes that the coordinator reads; workers are other processes."""
    return counted(monkeypatch)


def write(place: Path) -> None:
    """Write a table of several mebibytes, in the form that the name says."""
    x = np.random.default_rng(0).standard_normal((ROWS, 6))
    y = (x[:, 0] > 0).astype(np.int64)
    place.parent.mkdir(exist_ok=True)
    if ".npz" in place.name:
        np.savez(place, x=x, y=y)
    elif ".svm" in place.name:
        lines = (
            " ".join([str(label), *(f"{i + 1}:{v:.12f}" for i, v in enumerate(row))])
            for row, label in zip(x, y, strict=True)
        )
        place.write_text("\n".join(lines) + "\n")
    else:
        table = pa.table({**{f"x{column}": x[:, column] for column in range(6)}, "y": y})
        sink = io.BytesIO()
        pyarrow.csv.write_csv(table, sink)
        place.write_bytes(gzip.compress(sink.getvalue(), 1) if place.name.endswith(".gz") else sink.getvalue())


def opened(table: Path, target: str, **data: object) -> None:
    """Open a job's table as a run with two workers does."""
    values = {
        "data": {"train": str(table), "target": target, **data},
        "task": "classification",
        "network": {"hidden": [4]},
    }
    job = dbp.Job.from_values({"name": "small", "training": {"max_steps": 1}, "optimizer": {"name": "lbfgs"}, **values})
    with Opening(job, Observer(), 2, 2, None, None) as opening:
        dataset = opening.dataset()
    assert dataset.training_rows + dataset.validation_rows == ROWS * (2 if table.is_dir() else 1)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    ("name", "most"), [("t.csv", MEBIBYTE), ("t.csv.gz", 3 * MEBIBYTE // 2), ("t.svm", MEBIBYTE), ("t.npz", 0)]
)
def test_the_coordinator_reads_the_beginning(name: str, most: int, tmp_path: Path, read: SimpleNamespace) -> None:
    """Headers, and a table's end, are read besides."""
    write(tmp_path / name)
    assert (tmp_path / name).stat().st_size > 2 * MEBIBYTE
    opened(tmp_path / name, "label" if ".svm" in name else "y")
    assert read.bytes <= most + MEBIBYTE // 8


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(("name", "most"), [("t.csv", MEBIBYTE), ("t.npz", 0)])
def test_the_coordinator_reads_the_beginning_of_a_folder(
    name: str, most: int, tmp_path: Path, read: SimpleNamespace
) -> None:
    """Of each file the header, of the first one more."""
    write(tmp_path / "table" / name)
    (tmp_path / "table" / f"second-{name}").write_bytes((tmp_path / "table" / name).read_bytes())
    opened(tmp_path / "table", "y")
    assert read.bytes <= most + MEBIBYTE // 4


@pytest.mark.usefixtures("local_ray")
def test_the_column_that_splits_is_read_by_workers(tmp_path: Path, read: SimpleNamespace) -> None:
    write(tmp_path / "t.npz")
    opened(tmp_path / "t.npz", "y", validation=0.5, validation_split={"time": "x0"})
    assert read.bytes < MEBIBYTE // 8


@pytest.mark.usefixtures("local_ray")
def test_an_archive_that_is_damaged(tmp_path: Path, read: SimpleNamespace) -> None:
    """A flipped bit is found by whoever checks the archive, before anything is trained."""
    place = tmp_path / "t.npz"
    write(place)
    data = bytearray(place.read_bytes())
    data[MEBIBYTE] ^= 4
    place.write_bytes(data)
    with pytest.raises(
        DataError, match=r"t\.npz: damaged, or no \.npz archive of plain arrays \(Bad CRC-32 for file 'x\.npy'\)"
    ):
        opened(place, "y")
    assert read.bytes < MEBIBYTE // 8
