"""Tables: any run of rows is the same however it is cut, in Parquet, CSV and npz; types of CSV columns; what is refused."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from counted_reads import counted
from hypothesis import given, settings
from hypothesis import strategies as st

from dbp.data import text_index
from dbp.data.open_table import open_table
from dbp.data.table import BATCH_ROWS, Table
from dbp.errors import DataError

ROWS = 150_001  # several batches of each kind of table


def _all(table: Table, start: int = 0, stop: int | None = None, columns: list[str] | None = None) -> pa.Table:
    names = table.schema.names if columns is None else columns
    batches = list(table.batches(start, table.row_count if stop is None else stop, names))
    assert all(0 < batch.num_rows <= BATCH_ROWS for batch in batches)
    return pa.Table.from_batches(batches, pa.schema([table.schema.field(name) for name in names]))


@pytest.fixture(scope="module")
def original() -> pa.Table:
    random = np.random.default_rng(5)
    return pa.table({"x0": random.standard_normal(ROWS), "x1": random.standard_normal(ROWS), "y": np.arange(ROWS) % 9})


@pytest.fixture(scope="module", params=["parquet", "csv", "npz"])
def table(request: pytest.FixtureRequest, original: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Table:
    path = tmp_path_factory.mktemp("tables") / f"table.{request.param}"
    if request.param == "parquet":
        pq.write_table(original, path, row_group_size=40_007, data_page_size=10_000)
    elif request.param == "csv":
        pyarrow.csv.write_csv(original, path)
    else:
        x = np.column_stack([original["x0"], original["x1"]])
        np.savez(path, x=x, y=np.asarray(original["y"]))
    return open_table(path)


def test_the_whole_table_is_what_was_written(table: Table, original: pa.Table) -> None:
    """Every bit of every cell, also by way of CSV (which writes floats so that they read back the same)."""
    assert (table.row_count, table.schema.names) == (ROWS, ["x0", "x1", "y"])
    assert _all(table).equals(original)


@pytest.mark.parametrize("cuts", [(0, 1), (40_006, 40_009), (65_535, 131_073), (80_014, 80_014), (150_000, ROWS)])
def test_any_run_of_rows_is_that_of_the_whole(table: Table, original: pa.Table, cuts: tuple[int, int]) -> None:
    """Rows [start, stop), across row groups, blocks and batches; columns in the order asked for."""
    start, stop = cuts
    assert _all(table, start, stop, ["y", "x0"]).equals(original.select(["y", "x0"]).slice(start, stop - start))


def test_a_table_has_a_fingerprint_of_its_contents(tmp_path: Path) -> None:
    """The same bytes under another name have the same one; one byte makes another."""
    for name, text in (("a.csv", "x,y\n1,2\n"), ("b.csv", "x,y\n1,2\n"), ("c.csv", "x,y\n1,3\n")):
        (tmp_path / name).write_text(text)
    one, same, other = (open_table(tmp_path / f"{name}.csv").fingerprint() for name in "abc")
    assert one == same != other


def _csv(tmp_path: Path, text: str | bytes) -> Table:
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_table(path)


@pytest.mark.parametrize("block", [64, 8 << 20])
@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1"] * 50 + ["2.5"], "double", [1.0] * 50 + [2.5]),
        (["1"] * 50 + ["x"], "string", ["1"] * 50 + ["x"]),
        (["true"] * 50 + ["FALSE"], "bool", [True] * 50 + [False]),
        (["true"] * 50 + ["1"], "string", ["true"] * 50 + ["1"]),
        (["true"] * 50 + ["tRUE"], "string", ["true"] * 50 + ["tRUE"]),
        (["1"] * 50 + [""], "int64", [1] * 50 + [None]),
        ([""] * 50 + ["1"], "int64", [None] * 50 + [1]),
        (["1"] * 50 + ["NaN"], "int64", [1] * 50 + [None]),
        (["1"] * 50 + ["-inf"], "double", [1.0] * 50 + [-np.inf]),
        (["1"] * 50 + [str(2**63)], "double", [1.0] * 50 + [2.0**63]),
        (["1"] * 50 + ["  7\t"], "int64", [1] * 50 + [7]),
        (["1"] * 50 + ["1_0"], "string", ["1"] * 50 + ["1_0"]),
    ],
)
def test_a_type_is_decided_over_the_whole_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, cells: list[str], kind: str, values: list[object]
) -> None:
    """The last row counts like the first, in the first block or in a later one."""
    monkeypatch.setattr(text_index, "PIECE_BYTES", block)
    table = _csv(tmp_path, "a,b\n" + "".join(f"{cell},{row}\n" for row, cell in enumerate(cells)))
    assert str(table.schema.field("a").type) == kind
    assert _all(table).to_pydict() == {"a": values, "b": list(range(51))}


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a,b\r\n1,x\r\n2,y\r\n", {"a": [1, 2], "b": ["x", "y"]}),
        ("a,b\r1,x\r", {"a": [1], "b": ["x"]}),
        ("\ufeffa,b\n1,x\n", {"a": [1], "b": ["x"]}),
        ("\n\na,b\n1,x\n", {"a": [1], "b": ["x"]}),
        ("a,b\n1,x", {"a": [1], "b": ["x"]}),
        ("a,b\n\n1,x\n\n2,y\n\n", {"a": [1, 2], "b": ["x", "y"]}),
        ("a\n1\n\n3\n", {"a": [1, None, 3]}),
        ('"a","b"\n"1","x, y"\n', {"a": [1], "b": ["x, y"]}),
        ('a,b\n1,"two\nlines"\n2,"a ""quoted"" word"\n', {"a": [1, 2], "b": ["two\nlines", 'a "quoted" word']}),
        ('"a\nx",b\n1,y\n', {"a\nx": [1], "b": ["y"]}),
        ('a,b\n1,5" pipe\n', {"a": [1], "b": ['5" pipe']}),
        ('a,b\n1,"x"', {"a": [1], "b": ["x"]}),
        ('a,b\n1,""\n', {"a": [1], "b": [None]}),
        ("naïve,größe\n1,élan\n", {"naïve": [1], "größe": ["élan"]}),
        ("a.b,a\n1,2\n", {"a.b": [1], "a": [2]}),
    ],
)
def test_how_csv_may_be_written(tmp_path: Path, text: str, columns: dict[str, list[object]]) -> None:
    """Line ends, byte order marks, blank lines, quotes and what they may hold; a lone column's blank line is a missing cell."""
    table = _csv(tmp_path, text)
    assert table.row_count == len(next(iter(columns.values())))
    assert _all(table).to_pydict() == columns
    assert _all(table, 0, 1).to_pydict() == {name: values[:1] for name, values in columns.items()}


@settings(deadline=None, max_examples=60)
@given(
    cells=st.lists(
        st.one_of(
            st.sampled_from(
                ["", "1", "-0", "+5", " 3", "4 ", "0x1F", "007", "1e5", ".5", "1.", "inf", "nan", "NA", "true"]
            ),
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=5),
            st.integers(-(2**70), 2**70).map(str),
            st.floats().map(repr),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_column_reads_as_the_type_that_was_found(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str]
) -> None:
    """Whatever the cells, what opening decides can be read, row for row; text comes back as it was."""
    import csv

    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("a", "b"), *((c, "x") for c in cells)])
    table = _csv(tmp_path_factory.mktemp("csv"), buffer.getvalue())
    values = _all(table)["a"].to_pylist()
    assert len(values) == len(cells)
    for cell, value in zip(cells, values, strict=True):
        if isinstance(value, str):
            assert value == cell
        elif isinstance(value, float) and cell.strip(" \t")[:2].lower() not in ("0x", "-n", "+n", "na"):
            assert value == float(cell)


RAGGED = [
    ("a,b\n1,2\n3\n", "row 2 (counted from 1, header not counted) has 1 field; expected 2"),
    ("a,b\n1,2\n3,4,5\n6,7\n", "row 2 (counted from 1, header not counted) has 3 fields; expected 2"),
    ("\ufeff\n\na,b\n1,2\n\n3\n", "row 2 (counted"),
    ('a,b\n1,"x\ny"\n3\n', "row 2 (counted"),
    ('"a\n1",b\n1,2\n3\n', "row 2 (counted"),
    ("a,b\n" + "1,2\n" * 99 + "3\n", "row 100 (counted"),
    ('a,b\n1,"x\n', "row 1 (counted from 1, header not counted) ends inside quotes"),
    ('a,b\n1,"', "ends inside quotes"),
    ('a,b\n1,"x ""y""\n2,z', "ends inside quotes"),
    ("a,a\n1,2\n", "column 'a' is there twice"),
    (b"a,b\n1,2\n1,\xff\n", "column 'b', row 2 (counted from 1, header not counted): text that is not UTF-8"),
    (b"\xff\xfea\x00,\x00", "its header is not text in UTF-8"),
]


@pytest.mark.parametrize(("text", "words"), RAGGED)
def test_csv_that_is_refused(tmp_path: Path, text: str | bytes, words: str) -> None:
    """Rows are numbered as a reader counts them: header and blank lines apart, a row with a line break as one."""
    with pytest.raises(DataError) as refusal:
        _csv(tmp_path, text)
    assert words in str(refusal.value)
    assert str(refusal.value).startswith(f"{tmp_path}/table.csv: ")


def test_a_ragged_row_in_a_later_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number is that of the file, not of the block."""
    monkeypatch.setattr(text_index, "PIECE_BYTES", 64)
    with pytest.raises(DataError, match=r"row 100 .* has 1 field; expected 2"):
        _csv(tmp_path, "a,b\n" + "1,2\n" * 99 + "3\n" + "1,2\n" * 50)


@pytest.mark.parametrize(
    ("most", "words"),
    [(1 << 20, "row of more than 8 MiB.* Is a closing quote"), (8 << 20, "row 1 .* ends inside quotes")],
)
def test_quotes_that_swallow_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, words: str) -> None:
    """A missing quote is guessed when a row outgrows the reader, or at the file's end."""
    monkeypatch.setattr(text_index, "MOST_ROW_BYTES", most)
    with pytest.raises(DataError, match=words):
        _csv(tmp_path, 'a,b\n1,"2\n' + "1,2\n" * 800_000)


def _npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_npz_columns_are_numbered(tmp_path: Path) -> None:
    """x0, x1, ...; y, or y0, y1, ... for a matrix; any byte order; text labels."""
    x = np.arange(6, dtype=">f4").reshape(3, 2)
    (tmp_path / "a.npz").write_bytes(_npz(x=x, y=np.array(["r", "g", "b"])))
    (tmp_path / "b.npz").write_bytes(_npz(x=np.asfortranarray(x), y=x[::-1]))
    assert _all(open_table(tmp_path / "a.npz")).to_pydict() == {"x0": [0, 2, 4], "x1": [1, 3, 5], "y": ["r", "g", "b"]}
    assert _all(open_table(tmp_path / "b.npz")).to_pydict()["y1"] == [5, 3, 1]


X = np.arange(6.0).reshape(3, 2)
NPZ = {
    "no x": (_npz(z=X), "arrays z; expected x"),
    "one more": (_npz(x=X, y=X, z=X), "arrays x, y, z; expected x"),
    "x a vector": (_npz(x=X[:, 0], y=X), "x has shape (3,); expected (rows, columns)"),
    "no columns": (_npz(x=X[:, :0]), "x has shape (3, 0); expected (rows, columns)"),
    "y a number": (_npz(x=X, y=np.float64(3)), "y has shape (); expected (rows,) or (rows, columns)"),
    "y too short": (_npz(x=X, y=X[:2]), "x has 3 rows and y has 2; expected as many"),
    "complex": (_npz(x=X.astype(complex)), "x is of type complex128; expected numbers"),
    "long doubles": (_npz(x=X.astype(np.longdouble)), "expected at most float64"),
    "objects": (_npz(x=np.array([[None]], dtype=object)), "no .npz archive of plain arrays"),
    "truncated": (_npz(x=X)[:-30], "damaged"),
    "text": (b"x,y\n1,2\n", "no .npz archive"),
    "an .npy": (b"\x93NUMPY\x01\x00", "no .npz archive"),
}


@pytest.mark.parametrize("case", NPZ)
def test_npz_that_is_refused(tmp_path: Path, case: str) -> None:
    """What was seen, and what was expected; objects are never unpickled."""
    content, words = NPZ[case]
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError) as refusal:
        open_table(tmp_path / "a.npz")
    assert words in str(refusal.value)


def test_a_damaged_compressed_archive_is_a_data_error(tmp_path: Path) -> None:
    """Wherever the damage is: no other exception escapes, and no wrong number."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.arange(4000.0).reshape(-1, 4))
    whole = buffer.getvalue()
    for place in range(0, len(whole) - 40, len(whole) // 60):
        data = bytearray(whole)
        data[place : place + 40] = b"\x55" * 40
        (tmp_path / "a.npz").write_bytes(data)
        try:
            table = open_table(tmp_path / "a.npz")
        except DataError:
            continue
        np.testing.assert_array_equal(_all(table)["x3"], np.arange(3.0, 4000, 4))


KINDS = {
    "rows": lambda x: x,
    "columns": np.asfortranarray,
    "bytes": lambda x: (x % 200).astype(np.uint8),
    "text": lambda x: x.astype(int).astype(str),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", KINDS)
def test_a_large_archive_is_read_where_its_rows_lie(
    save: Any, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening it reads directory and headers; who is told what they said reads rows, and not the whole where they lie in ranges."""
    monkeypatch.setattr("dbp.data.npz._CHECKED_BYTES", 1000)
    x, y = KINDS[kind](np.arange(400_000.0).reshape(-1, 4)), np.arange(200_000).reshape(-1, 2)
    save(tmp_path / "a.npz", x=x, y=y)
    read = counted(monkeypatch)
    table = open_table(tmp_path / "a.npz")
    assert read.bytes < 40_000
    told = open_table(tmp_path / "a.npz", pickle.loads(pickle.dumps(table.learnt())))
    read.bytes = 0
    for start, stop in ((70_000, 70_010), (5, 7), (99_999, 200_000)):
        rows = _all(told, start, min(stop, 100_000), ["y1", "x2"])
        assert rows["x2"].to_pylist() == x[start:stop, 2].tolist()
        assert rows["y1"].to_pylist() == y[start:stop, 1].tolist()
    if save is np.savez:
        assert read.bytes < 40_000
    else:
        assert read.bytes < 1.1 * (tmp_path / "a.npz").stat().st_size + 40_000  # once, however often rows are asked for


def test_a_large_archive_that_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its compressed arrays are checked as they are unpacked, and it may not have changed since it was opened."""
    monkeypatch.setattr("dbp.data.npz._CHECKED_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(1).standard_normal((5000, 4)))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[80_000] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    table = open_table(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a\.npz: damaged \("):
        _all(table)
    (tmp_path / "a.npz").write_bytes(data[:-1])
    with pytest.raises(DataError, match=r"a\.npz: [0-9,]+ bytes; it had [0-9,]+ when the job began"):
        open_table(tmp_path / "a.npz", table.learnt())


def test_an_archive_for_which_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((5000, 4)))
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match=r"x\.npy unpacks to 160,128 bytes, and 1,000 are free in "):
        _all(open_table(tmp_path / "a.npz"))


def test_parquet_that_is_refused(tmp_path: Path) -> None:
    """A truncated file, and two columns of one name."""
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="column 'a' is there twice"):
        open_table(tmp_path / "twice.parquet")
    pq.write_table(pa.table({"a": np.arange(1000)}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for length in (1, 4, 11, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.parquet").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.parquet: truncated, or not a Parquet file"):
            open_table(tmp_path / "cut.parquet")


def test_a_damaged_page_is_noticed(tmp_path: Path) -> None:
    """Where the writer left checksums, a changed byte is never taken for a number."""
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(pa.table({"a": np.arange(10_000)}), tmp_path / "a.parquet", **options)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[40_000] ^= 1
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: damaged near row \d+"):
        _all(open_table(tmp_path / "a.parquet"))


def test_parquet_columns_with_dots_in_their_names(tmp_path: Path) -> None:
    """'a' is not 'a.b': each column is what it is called."""
    original = pa.table({"a.b": [1, 2], "a": [3, 4]})
    pq.write_table(original, tmp_path / "a.parquet")
    table = open_table(tmp_path / "a.parquet")
    for names in (["a"], ["a.b"], ["a", "a.b"]):
        assert _all(table, columns=names).equals(original.select(names))


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "no/such.csv", "a\0b.csv", "x.txt", "x"])
def test_names_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A DataError that begins with the name as the user wrote it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as refusal:
        open_table(name)
    assert str(refusal.value).startswith(f"{name}: ")
