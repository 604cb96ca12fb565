"""Folders and patterns: one table of many files, in the order of their relative paths, with the keys of the folders as columns."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_server import S3

from dbp.data.dataset import Dataset
from dbp.data.many_files import ManyFiles
from dbp.data.open_table import open_table
from dbp.data.table import Table
from dbp.errors import DataError
from dbp.storage.remote import open_folder

ROWS = 1000
NAMES = ["a/part-0.parquet", "a/part-1.parquet", "b.parquet", "c/d/e.parquet"]


def rows_of(table: Table, start: int = 0, stop: int | None = None, columns: list[str] | None = None) -> pa.Table:
    names = table.schema.names if columns is None else columns
    found = table.batches(start, table.row_count if stop is None else stop, names)
    return pa.Table.from_batches(list(found), pa.schema([table.schema.field(name) for name in names]))


@pytest.fixture(scope="module")
def original() -> pa.Table:
    draw = np.random.default_rng(3)
    return pa.table({"x": draw.standard_normal(ROWS), "n": np.arange(ROWS), "y": [f"{n % 3}" for n in range(ROWS)]})


def write_pieces(table: pa.Table, folder: Path, names: list[str]) -> None:
    """Write a table in pieces, one of them empty where there are more than two."""
    cuts = [0, *sorted(np.random.default_rng(len(names)).integers(0, len(table), len(names) - 1)), len(table)]
    if len(names) > 2:
        cuts[2] = cuts[1]
    for name, start, stop in zip(names, cuts, cuts[1:], strict=False):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        piece = table.slice(start, stop - start)
        if name.endswith(".csv"):
            pyarrow.csv.write_csv(piece, place)
        else:
            pq.write_table(piece, place, row_group_size=97)


@pytest.fixture(scope="module")
def folder(original: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("many")
    write_pieces(original, place, NAMES)
    (place / "_SUCCESS").touch()
    (place / "a" / ".part-0.parquet.crc").write_bytes(b"crc")
    (place / "_delta_log").mkdir()
    (place / "_delta_log" / "0.json").write_text("{}")
    return place


def test_a_folder_is_one_table(folder: Path, original: pa.Table) -> None:
    """Rows in the order of the paths; what begins with _ or . is no part of it."""
    table = open_table(folder)
    assert isinstance(table, ManyFiles)
    assert table.path == str(folder)
    assert table.learnt().files.names == tuple(sorted(NAMES))
    assert rows_of(table).equals(original)


@given(st.integers(-5, ROWS + 5), st.integers(-5, ROWS + 5), st.permutations(["x", "n", "y"]), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_any_range_is_the_slice(
    folder: Path, original: pa.Table, start: int, stop: int, names: list[str], count: int
) -> None:
    """As with one file, also in a process that was told what another learnt."""
    low, high = max(start, 0), max(min(stop, ROWS), 0)
    expected = original.select(names[:count]).slice(low, max(high - low, 0))
    table = open_table(folder)
    assert rows_of(table, start, stop, names[:count]).equals(expected)
    told = open_table(folder, pickle.loads(pickle.dumps(table.learnt())))
    assert rows_of(told, start, stop, names[:count]).equals(expected)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.parquet", ["b.parquet"]),
        ("a/part-?.parquet", NAMES[:2]),
        ("a/part-[1-9].parquet", NAMES[1:2]),
        ("**/*.parquet", NAMES),
        ("**/e.parquet", NAMES[3:]),
        ("*/*.parquet", NAMES[:2]),
    ],
)
def test_patterns(folder: Path, pattern: str, names: list[str]) -> None:
    """Within a name, and any folders with two stars."""
    table = open_table(f"{folder}/{pattern}")
    pieces = [pq.read_table(folder / name) for name in names]
    assert rows_of(table).equals(pa.concat_tables(pieces))


def test_a_name_with_wildcards_that_is_there(tmp_path: Path) -> None:
    """It is taken as it is spelt."""
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a[1].parquet")
    assert open_table(tmp_path / "a[1].parquet").row_count == 1


def test_only_files_that_hold_the_rows_are_opened(folder: Path, tmp_path: Path, original: pa.Table) -> None:
    """A process that was told what another learnt reads no more than its own files."""
    write_pieces(original, tmp_path, NAMES)
    learnt = open_table(tmp_path).learnt()
    for name in NAMES[:-1]:
        (tmp_path / name).unlink()
    last = pq.read_metadata(tmp_path / NAMES[-1]).num_rows
    told = open_table(tmp_path, learnt)
    assert rows_of(told, ROWS - last).equals(original.slice(ROWS - last))
    with pytest.raises(DataError, match=r"a/part-0\.parquet: is gone"):
        rows_of(told, 0, 1)


def test_the_fingerprint_covers_names_and_contents(tmp_path: Path) -> None:
    """Another name, another cut or another cell is another table; another place is not."""

    def fingerprint(folder: str, **files: list[int]) -> str:
        for name, values in files.items():
            place = tmp_path / folder / f"{name}.parquet"
            place.parent.mkdir(exist_ok=True)
            pq.write_table(pa.table({"x": values}), place)
        return open_table(tmp_path / folder).fingerprint()

    same = fingerprint("one", a=[1, 2], b=[3]), fingerprint("two", a=[1, 2], b=[3])
    others = fingerprint("3", a=[1, 2], c=[3]), fingerprint("4", a=[1], b=[2, 3]), fingerprint("5", a=[1, 2], b=[4])
    assert same[0] == same[1]
    assert len({same[0], *others}) == 4


def test_a_large_table_is_fingerprinted_by_its_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files count, by size and ends."""
    monkeypatch.setattr("dbp.data.many_files.WHOLE_BYTES", 10)
    monkeypatch.setattr("dbp.data.many_files._EDGE_BYTES", 400)
    monkeypatch.setattr("dbp.data.many_files._LEAST_EDGE_BYTES", 100)
    before = open_table(folder).fingerprint()
    assert before == open_table(folder).fingerprint()
    place = folder / NAMES[0]
    whole = place.read_bytes()
    for cell in (0, len(whole) - 1):
        changed = bytearray(whole)
        changed[cell] ^= 1
        table = open_table(folder)
        place.write_bytes(changed)
        assert table.fingerprint() != before
        place.write_bytes(whole)


def test_hive_partitions(tmp_path: Path) -> None:
    """Folders called key=value are columns, typed over all files; %20 is a blank."""
    table = pa.table({"x": [1.0, 2.0]})
    for year, city in ((2020, "a%20b"), (2020, "__HIVE_DEFAULT_PARTITION__"), (1999, "c")):
        place = tmp_path / f"year={year}/share={year}.5/city={city}"
        place.mkdir(parents=True)
        pq.write_table(table, place / "0.parquet")
    found = open_table(tmp_path)
    assert found.schema.names == ["x", "year", "share", "city"]
    assert rows_of(found).to_pydict() == {
        "x": [1.0, 2.0] * 3,
        "year": [1999] * 2 + [2020] * 4,
        "share": [1999.5] * 2 + [2020.5] * 4,
        "city": ["c", "c", None, None, "a b", "a b"],
    }
    assert found.schema.types == [pa.float64(), pa.int64(), pa.float64(), pa.string()]
    assert rows_of(found, 1, 3, ["year"]).to_pydict() == {"year": [1999, 2020]}
    assert open_table(f"{tmp_path}/year=20*/**/*.parquet").row_count == 4


def test_csv_files_have_the_types_of_all(tmp_path: Path, original: pa.Table) -> None:
    """Columns that hold whole numbers in one file and shares in another are float64 in both, as in one file."""
    (tmp_path / "a.csv").write_text("x,y,z\n1,true,\n")
    (tmp_path / "b.csv").write_text("x,y,z\n0.5,false,\n")
    (tmp_path / "c.csv").write_text("x,y,z\n,no,7\n")
    (tmp_path / "whole.txt").write_text("x,y,z\n1,true,\n0.5,false,\n,no,7\n")
    (tmp_path / "whole.txt").rename(tmp_path.parent / "whole.csv")
    table, whole = open_table(tmp_path), open_table(tmp_path.parent / "whole.csv")
    assert table.schema == whole.schema
    assert rows_of(table).equals(rows_of(whole))
    assert rows_of(open_table(tmp_path, table.learnt())).equals(rows_of(whole))


BAD = {
    "empty folder": ({}, "the folder holds no tables (there is no file)"),
    "notes only": ({"_SUCCESS": b"", "_a/b.parquet": b""}, "holds no tables (there is _SUCCESS, _a/b.parquet)"),
    "another file": ({"a.csv": b"x\n1\n", "notes.txt": b"n"}, "/notes.txt: is no table, and lies among those of"),
    "mixed endings": ({"a.csv": b"x\n1\n", "b.npz": b"x"}, "/b.npz: is .npz, and a.csv is .csv; expected files of one"),
    "a column less": ({"a.csv": b"x,y\n1,2\n", "b.csv": b"x\n1\n"}, "/b.csv: no column 'y'"),
    "a column more": ({"a.csv": b"x\n1\n", "b.csv": b"x,y\n1,2\n"}, "/b.csv: has a column 'y' that a.csv has not"),
    "another order": ({"a.csv": b"x,y\n1,2\n", "b.csv": b"y,x\n1,2\n"}, "/b.csv: has the columns in the order y, x, and a"),
    "an empty file": ({"a.csv": b"x\n1\n", "b.csv": b""}, "/b.csv: the file is empty"),
    "a damaged row": ({"a.csv": b"x,y\n1,1\n", "b.csv": b"x,y\n1,1\n1\n"}, "/b.csv: row 2 (counted"),
    "a key that is a column": ({"x=1/a.csv": b"x\n1\n"}, "/x=1/a.csv: 'x' is a column, and a key in the names"),
    "a key twice": ({"k=1/k=2/a.csv": b"x\n1\n"}, "give ['k', 'k'] more than once"),
    "a key that is missing": ({"a.csv": b"x\n1\n", "k=1/a.csv": b"x\n1\n"}, "/k=1/a.csv: the names of its folders give"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_folders_that_are_refused(tmp_path: Path, case: str) -> None:
    """The file, and what it was compared with."""
    files, words = BAD[case]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as refusal:
        open_table(tmp_path)
    assert words in str(refusal.value)
    assert str(refusal.value).startswith(str(tmp_path))


def test_types_that_differ(tmp_path: Path) -> None:
    """Parquet states its types: they must be the same."""
    pq.write_table(pa.table({"x": [1], "y": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [1], "y": [1.0]}), tmp_path / "b.parquet")
    with pytest.raises(
        DataError, match=r"/b\.parquet: column 'y' holds double, and in a\.parquet int64; expected the same"
    ):
        open_table(tmp_path)


def test_a_damaged_middle_file(folder: Path, tmp_path: Path, original: pa.Table) -> None:
    """Its name and row, when its rows are read."""
    write_pieces(original, tmp_path, NAMES)
    place = tmp_path / "b.parquet"
    data = bytearray(place.read_bytes())
    data[4:60] = bytes(56)
    place.write_bytes(data)
    with pytest.raises(DataError, match=r"/b\.parquet: damaged near row 1 "):
        rows_of(open_table(tmp_path))
    place.write_bytes(data[:-50])
    with pytest.raises(DataError, match=r"/b\.parquet: truncated, or not a Parquet file"):
        open_table(tmp_path)


def test_a_file_that_changed_since(tmp_path: Path) -> None:
    """Another number of rows is noticed before a row is read."""
    for name in "ab":
        pq.write_table(pa.table({"x": [1, 2]}), tmp_path / f"{name}.parquet")
    learnt = open_table(tmp_path).learnt()
    pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"/b\.parquet: has 3 rows .* it had 2 rows and x \(int64\) when the job began"):
        rows_of(open_table(tmp_path, learnt))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("no/*.parquet", "there is no folder"),
        ("*.csv", "no file matches; below "),
        ("*/../*.parquet", "expected a pattern without empty parts"),
        ("a", ""),
    ],
)
def test_patterns_that_match_nothing(folder: Path, pattern: str, words: str) -> None:
    """What is there is named."""
    if not words:
        assert open_table(folder / pattern).row_count
        return
    with pytest.raises(DataError) as refusal:
        open_table(f"{folder}/{pattern}")
    assert words in str(refusal.value)
    if pattern == "*.csv":
        assert "there is _SUCCESS, b.parquet" in str(refusal.value)


def test_a_link_that_leads_back(tmp_path: Path) -> None:
    """No row counts twice."""
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.raises(DataError, match="is met twice, by a link"):
        open_table(tmp_path)


def test_a_folder_in_a_bucket(folder: Path, s3: S3, original: pa.Table) -> None:
    """The same rows, fingerprint and schema; a process that was told opens its files only, and lists nothing."""
    for name in [*NAMES, "_SUCCESS"]:
        open_folder(s3.url).upload(folder / name, f"data/{name}")
    here, there = open_table(folder), open_table(f"{s3.url}/data")
    assert there.fingerprint() == here.fingerprint()
    assert rows_of(there).equals(original)
    assert rows_of(open_table(f"{s3.url}/data/**/*.parquet")).equals(original)
    assert rows_of(open_table(f"{s3.url}/data/")).equals(original)
    s3.requests.clear()
    told = open_table(f"{s3.url}/data", there.learnt())
    rows_of(told, ROWS - 10)
    assert s3.requests
    assert not [line for line in s3.requests if NAMES[3] not in line]
    with pytest.raises(
        DataError, match=r"x\*\.parquet: no file matches; below .* there is _SUCCESS, a/part-0\.parquet"
    ):
        open_table(f"{s3.url}/data/x*.parquet")
    with pytest.raises(DataError, match=r"nowhere: no ending; expected"):
        open_table(f"{s3.url}/nowhere")


def test_a_dataset_tells_its_copies_what_it_learnt(folder: Path) -> None:
    """What is sent to a worker holds the names and sizes; the rows are the same."""
    dataset = Dataset.open(str(folder), 0.2, "y", ["x", "n"], "classification", 0)
    copy = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(dataset))))
    assert copy == dataset
    assert copy._train_table.learnt() == dataset._train_table.learnt()
    here, there = dataset.summarize("train", 10, 700), copy.summarize("train", 10, 700)
    assert here.mean.tobytes() == there.mean.tobytes()
    assert here.labels == there.labels


@pytest.mark.parametrize("named", ["parts", "parts/*.parquet"])
def test_a_file_that_was_written_anew_during_a_job_is_refused(tmp_path, monkeypatch, named):
    """Of the same size, rows and columns; another time of writing alone is no change."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts").mkdir()
    tables = [pa.table({"a": np.arange(4.0) + start, "y": np.arange(4.0)}) for start in (0, 4)]
    for number, table in enumerate(tables):
        pq.write_table(table, tmp_path / "parts" / f"{number}.parquet")
    dataset = Dataset.open(named, None, "y", None, "regression", 0)
    dataset.fingerprint()
    sent = pickle.loads(pickle.dumps(dataset))
    os.utime(tmp_path / "parts" / "1.parquet", ns=(1, 1))
    assert sent.summarize("train", 0, 8).rows == 8
    pq.write_table(tables[0], tmp_path / "parts" / "1.parquet")
    later = pickle.loads(pickle.dumps(dataset))
    with pytest.raises(DataError, match="has changed since the run began"):
        later.summarize("train", 4, 8)
