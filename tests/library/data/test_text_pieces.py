"""Text is read in pieces that end where rows end: the same rows as in one piece, however quotes and line ends lie."""

from __future__ import annotations

import pickle
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_server import S3

from dbp.data import text_index
from dbp.data.csv import _Cut
from dbp.data.open_table import open_table
from dbp.data.table import Table
from dbp.errors import DataError
from dbp.storage.remote import open_folder


def rows_of(table: Table, start: int = 0, stop: int | None = None) -> pa.Table:
    return pa.Table.from_batches(table.batches(start, stop or table.row_count, table.schema.names), table.schema)


CELL = st.one_of(
    st.from_regex(r"\A[a-c0-9 ]{0,3}\Z"),
    st.text(st.sampled_from('a,\n\r"\t'), max_size=4).map(lambda text: '"' + text.replace('"', '""') + '"'),
    st.sampled_from(['5" pipe', 'a"b"', '"a"b', ' "a"', '""', '""""', '"\n\n"', '"a""\n,"']),
)
FILES = st.tuples(
    st.lists(st.tuples(CELL, CELL), min_size=1, max_size=12),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    st.booleans(),
)


@given(FILES, st.integers(1, 40), st.data())
@settings(max_examples=250, deadline=None)
def test_any_pieces_are_the_rows_of_arrows_reader(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[list[tuple[str, str]], str, bool],
    size: int,
    data: st.DataObject,
) -> None:
    """Quotes within cells, line breaks in quotes, any line end: what Arrow reads of the file as a whole, in any range."""
    lines, end, ends = drawn
    text = end.join(["one,two", *(f"{a},{b}" for a, b in lines)]) + (end if ends else "")
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(text.encode())
    types = {"one": pa.string(), "two": pa.string()}
    whole = pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False),
    )
    with (
        patch.object(text_index, "PIECE_BYTES", size),
        patch("dbp.data.csv._CANDIDATES", ()),
        patch("dbp.data.csv._MISSING", []),
    ):
        table = open_table(path)
        assert table.row_count == whole.num_rows
        told = open_table(path, pickle.loads(pickle.dumps(table.learnt())))
        start = data.draw(st.integers(0, whole.num_rows))
        stop = data.draw(st.integers(start, whole.num_rows))
        if start < stop:
            assert rows_of(told, start, stop).equals(whole.slice(start, stop - start))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (b"1,2\n3", 4),
        (b"1,2\r3", 4),
        (b"1,2\r", 0),
        (b"1,2\r\n", 5),
        (b'1,"\n', 0),
        (b'1,"\n"\n"', 6),
        (b'1,2" \n"\n', 6),
        (b'"\n""\n"\r\n"\n', 8),
        (b'1,""\n"",\n"', 9),
    ],
)
def test_where_whole_rows_end(text: bytes, whole: int) -> None:
    """By hand."""
    assert _Cut(",")(text) == whole


def test_a_process_that_was_told_reads_its_rows_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: S3) -> None:
    """Of a file in a store, the ranges of the pieces that hold them."""
    monkeypatch.setattr(text_index, "PIECE_BYTES", 1 << 16)
    (tmp_path / "t.tsv").write_text("x\ty\n" + "".join(f"{n}\t{n % 7}\n" for n in range(400_000)))
    open_folder(s3.url).upload(tmp_path / "t.tsv", "t.tsv")
    table = open_table(f"{s3.url}/t.tsv")
    assert table.schema.types == [pa.int64(), pa.int64()]
    s3.requests.clear()
    told = open_table(f"{s3.url}/t.tsv", table.learnt())
    assert rows_of(told, 100_000, 100_003)["x"].to_pylist() == [100_000, 100_001, 100_002]
    ranges = [line.rpartition("bytes=")[2].split("-") for line in s3.requests if line.startswith("GET")]
    assert ranges
    assert sum(int(end) - int(start) + 1 for start, end in ranges) < (tmp_path / "t.tsv").stat().st_size / 2


def test_a_file_that_changed_since_it_was_indexed(tmp_path: Path) -> None:
    """By its size, and by the checksum of the piece that is read."""
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,2\n3,4\n")
    learnt = open_table(path).learnt()
    path.write_text("x,y\n1,2\n3,5\n")
    with pytest.raises(DataError, match=r"t\.csv: rows 1 to 2 \(counted .* are not what they were when the job began"):
        rows_of(open_table(path, learnt))
    path.write_text("x,y\n1,2\n3,5\n6,7\n")
    with pytest.raises(DataError, match=r"t\.csv: 16 bytes; it had 12 when the job began"):
        open_table(path, learnt)
