"""Tables at URIs: the same rows and the same fingerprint as in a folder, and of Parquet only what is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from chaos import ChaosFileSystem, Fault
from gcs_server import Google
from s3_server import S3

from dbp.data.open_table import open_table
from dbp.errors import DataError, StorageError
from dbp.storage.remote import open_folder

ROWS = 200_000


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    draw = np.random.default_rng(1)
    table = pa.table({**{f"x{n}": draw.standard_normal(ROWS) for n in range(6)}, "y": np.arange(ROWS) % 7})
    pq.write_table(table, folder / "t.parquet", row_group_size=20_000)
    pyarrow.csv.write_csv(table.slice(0, 1000), folder / "t.csv")
    np.savez(folder / "t.npz", x=draw.standard_normal((50, 3)), y=np.arange(50))
    return folder


@pytest.fixture(params=["s3", "gcs"])
def store(request: pytest.FixtureRequest) -> S3 | Google:
    found: S3 | Google = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.npz"])
def test_a_table_is_the_same_wherever_it_is(name: str, tables: Path, store: S3 | Google) -> None:
    open_folder(store.url).upload(tables / name, f"data/{name}")
    here, there = open_table(tables / name), open_table(f"{store.url}/data/{name}")
    assert there.path == f"{store.url}/data/{name}"
    assert (there.row_count, there.schema, there.fingerprint()) == (here.row_count, here.schema, here.fingerprint())
    names = here.schema.names[1:]
    for start, stop in ((0, here.row_count), (7, 33)):
        assert list(there.batches(start, stop, names)) == list(here.batches(start, stop, names))
    assert open_table(f"file://{tables}/{name}").fingerprint() == here.fingerprint()


def test_of_parquet_only_ranges_are_read(tables: Path, store: S3 | Google) -> None:
    open_folder(store.url).upload(tables / "t.parquet", "t.parquet")
    store.requests.clear()
    table = open_table(f"{store.url}/t.parquet")
    rows = list(table.batches(150_000, 150_100, ["x3", "y"]))
    assert sum(batch.num_rows for batch in rows) == 100
    gets = [line for line in store.requests if line.startswith("GET") and "t.parquet" in line and "/v1/b/" not in line]
    gets += [line for line in store.requests if "/download/" in line]
    ranges = [line.rpartition("bytes=")[2].split("-") for line in gets]
    assert ranges
    assert all(len(each) == 2 for each in ranges), gets
    size = (tables / "t.parquet").stat().st_size
    assert sum(min(int(end), size - 1) - int(start) + 1 for start, end in ranges) < size / 2


@pytest.mark.parametrize("kind", ["parquet", "csv", "npz"])
def test_a_damaged_table_in_a_bucket(kind: str, s3: S3) -> None:
    open_folder(s3.url).write(f"t.{kind}", b"\xff\xfenothing of the kind\n")
    with pytest.raises(DataError, match=rf"{s3.url}/t\.{kind}: "):
        open_table(f"{s3.url}/t.{kind}")


def test_a_table_that_is_not_there(tables: Path, s3: S3) -> None:
    open_folder(s3.url).write("data/table.csv", b"a\n1\n")
    with pytest.raises(DataError, match=rf"{s3.url}/data/tabel\.csv: no such file; did you mean table\.csv\?"):
        open_table(f"{s3.url}/data/tabel.csv")
    open_folder(s3.url).write("data/empty.csv", b"")
    with pytest.raises(DataError, match=r"empty\.csv: the file is empty"):
        open_table(f"{s3.url}/data/empty.csv")
    with pytest.raises(DataError, match=r"x\.txt: ending '\.txt'; expected"):
        open_table(f"{s3.url}/x.txt")
    with pytest.raises(StorageError, match="there is no bucket"):
        open_table("s3://no-such-bucket-here/x.csv")


def test_a_store_that_is_busy_while_rows_are_read(tables: Path, chaos: type[ChaosFileSystem]) -> None:
    open_folder("chaos://b").upload(tables / "t.csv", "t.csv")
    chaos.faults += [Fault("get", "503", (1,)), Fault("get", "truncated", (2,)), Fault("info", "503", (1, 3))]
    assert open_table("chaos://b/t.csv").fingerprint() == open_table(tables / "t.csv").fingerprint()
    chaos.faults[:] = [Fault("get", "403", None)]
    with pytest.raises(StorageError, match=r"chaos://b/t\.csv: cannot be read: access denied"):
        open_table("chaos://b/t.csv")
