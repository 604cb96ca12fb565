"""Ranges of text that are looked through in any order, by guesses, teach what one reader learns from the beginning on."""

from __future__ import annotations

import gzip
import pickle
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from s3_server import S3

from dbp.data import text_index, text_scan, unpacked
from dbp.data.csv import CsvTable
from dbp.data.dataset import Dataset
from dbp.data.libsvm import LibsvmTable
from dbp.data.open_table import open_table
from dbp.data.table import Table
from dbp.data.table_file import LocalFile
from dbp.data.text_scan import Looking, RangeFound, RangeTask, TextScan
from dbp.data.unpacked import UnpackedFile
from dbp.errors import DataError
from dbp.storage.remote import open_folder


class Apart:
    """Looks through the last range first, each in what a process that is sent it has; notes which."""

    def __init__(self) -> None:
        self.asked: list[RangeTask] = []
        self.heard: list[tuple[str, int, int]] = []

    def results(self, tasks: Sequence[RangeTask]) -> Generator[RangeFound | None]:
        self.asked += tasks
        sent: list[RangeTask] = [pickle.loads(pickle.dumps(task)) for task in tasks]
        answers = [_answer(task) for task in reversed(sent)]
        for answer in reversed(answers):
            if isinstance(answer, DataError):
                raise answer
            yield pickle.loads(pickle.dumps(answer))

    def told(self, path: str, done: int, total: int) -> None:
        self.heard.append((path, done, total))

    @property
    def again(self) -> list[RangeTask]:
        """Those whose guess was wrong."""
        return [task for task in self.asked if task.place is not None][1:]


def _answer(task: RangeTask) -> RangeFound | DataError | None:
    try:
        return task()
    except DataError as error:
        return error


@contextmanager
def ranges(length: int, piece: int = 1 << 20, least: int = 0) -> Iterator[None]:
    """Make ranges and pieces small, and tables of more than `least` bytes large."""
    with (
        patch.object(text_scan, "RANGE_BYTES", length),
        patch.object(text_index, "PIECE_BYTES", piece),
        patch.object(text_scan, "LEAST_BYTES", least),
    ):
        yield


def nothing(table: Table) -> None:
    pass


def opened(path: Path, lookers: Apart | None) -> tuple[object, ...] | str:
    """What is learnt, or why nothing is."""
    try:
        table = open_table(path, looking=None if lookers is None else Looking(lookers, nothing))
    except DataError as error:
        return str(error)
    return facts(table)


def facts(table: Table) -> tuple[object, ...]:
    """All that opening a table taught."""
    learnt: Any = table.learnt()
    index = learnt.index
    others = {name: value for name, value in vars(learnt).items() if name != "index"}
    return others, index.offsets.tolist(), index.first_rows.tolist(), index.checksums.tolist(), table.schema


CELL = st.one_of(
    st.sampled_from(["1", "-2.5", "true", "", "NA", "abc", '5" pipe', 'a"b"', '"a"b', '""', '""""', '"open', "\udc80"]),
    st.text(st.sampled_from('a1,\n\r"\t'), max_size=9).map(lambda text: '"' + text.replace('"', '""') + '"'),
)
ROWS = st.lists(st.lists(CELL, min_size=2, max_size=2) | st.lists(CELL, min_size=1, max_size=3), max_size=14)
END = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


@given(ROWS, END, st.booleans(), st.booleans(), st.integers(1, 40), st.integers(1, 30))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_csv_teaches_the_same_in_ranges(
    tmp_path: Path, rows: list[list[str]], end: str, ends: bool, marked: bool, length: int, piece: int
) -> None:
    text = end.join(["one,two", *map(",".join, rows)]) + (end if ends else "")
    (tmp_path / "t.csv").write_bytes(("\ufeff" * marked + text).encode(errors="surrogateescape"))
    with ranges(length, min(piece, length)):
        assert opened(tmp_path / "t.csv", Apart()) == opened(tmp_path / "t.csv", None)


@given(ROWS, END, st.integers(1, 40))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranges_teach_what_the_file_teaches_as_one(
    tmp_path: Path, rows: list[list[str]], end: str, length: int
) -> None:
    """Types, rows, and whether something is wrong (of several things, another may be told first)."""
    text = end.join(["one,two", *map(",".join, rows)])
    (tmp_path / "t.csv").write_bytes(text.encode(errors="surrogateescape"))

    def seen() -> object:
        try:
            table = open_table(tmp_path / "t.csv")
        except DataError:
            return None
        batches = list(table.batches(0, table.row_count, table.schema.names))
        return table.schema, table.row_count, [row for batch in batches for row in batch.to_pylist()]

    whole = seen()
    with ranges(length):
        assert seen() == whole


LABEL = st.sampled_from(
    ["1", "-1", "0.5", "1 1:2", "1 3:0.25 2:7", "0 0:1", "# a note", "", "x 1:1", "1 1:1 1:2", "1 2:"]
)


@given(st.lists(LABEL, max_size=20), END, st.integers(1, 30))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_libsvm_teaches_the_same_in_ranges(tmp_path: Path, lines: list[str], end: str, length: int) -> None:
    (tmp_path / "t.svm").write_text(end.join(["1 1:1", *lines]), newline="")
    with ranges(length, length):
        assert opened(tmp_path / "t.svm", Apart()) == opened(tmp_path / "t.svm", None)


def test_line_breaks_in_quotes_are_guessed_right(tmp_path: Path) -> None:
    """Most ranges begin inside quotes here, and only one needs a second look: its guess could not be told to be wrong."""
    note = "so it goes,\nand on\n" * 10
    (tmp_path / "t.csv").write_text("n,text,y\n" + "".join(f'{n},"{note}",{n % 2}\n' for n in range(400)))
    lookers = Apart()
    with ranges(1000, 600):
        open_table(tmp_path / "t.csv", looking=Looking(lookers, nothing))
    assert len(lookers.asked) > 75
    assert not lookers.again


def test_a_wrong_guess_is_looked_at_again(tmp_path: Path) -> None:
    """In a table of one column any text is rows, whether quotes are taken for opened or closed."""
    (tmp_path / "t.csv").write_text("text\n" + '"a\nb"\n' * 300)
    lookers = Apart()
    with ranges(100):
        table = open_table(tmp_path / "t.csv", looking=Looking(lookers, nothing))
    assert lookers.again
    assert table.row_count == 300


def test_who_hears_of_what(tmp_path: Path) -> None:
    """The first rows are seen before the rest are looked through; how far that is, is told in bytes."""
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,2\n" * 500 + "1,x\n" * 500)
    lookers, seen = Apart(), []

    def first_look(table: Table) -> None:
        seen.append((str(table.schema.field("b").type), len(lookers.asked)))

    with ranges(1000, 100, least=3000):
        table = open_table(path, looking=Looking(lookers, first_look))
    assert seen == [("int64", 0)]
    assert str(table.schema.field("b").type) == "string"
    size = path.stat().st_size
    assert [done for _, done, _ in lookers.heard] == [0, 1004, 2004, 3004, size]
    assert {(path, total) for path, _, total in lookers.heard} == {(str(path), size)}


@pytest.mark.parametrize("size", [2000, 4004])
def test_small_tables_are_nobody_elses(size: int, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * (size // 4 - 1))
    lookers = Apart()
    with ranges(1000, least=4000):
        open_table(tmp_path / "t.csv", looking=Looking(lookers, nothing))
    assert not lookers.asked


@pytest.mark.parametrize("ending", [".csv", ".svm", ".csv.gz"])
def test_many_files(ending: str, tmp_path: Path) -> None:
    """Of a folder the files together are large; columns have one type in all. A compressed file is one range."""
    for number in range(6):
        text = "".join(f"{row % 2}{' 1:' if 'svm' in ending else ','}{row + number / 2}\n" for row in range(100))
        text = text if "svm" in ending else "y,x\n" + text
        (tmp_path / "d" / f"k={number}").mkdir(parents=True)
        data = gzip.compress(text.encode()) if ending.endswith("gz") else text.encode()
        (tmp_path / "d" / f"k={number}" / f"t{ending}").write_bytes(data)
    plain, lookers, seen = open_table(tmp_path / "d"), Apart(), []
    with ranges(300, least=1000):
        table = open_table(tmp_path / "d", looking=Looking(lookers, lambda first: seen.append(first.schema)))
    assert len(lookers.asked) == 6 if ending == ".csv.gz" else len(lookers.asked) > 6
    assert table.schema == plain.schema
    assert table.row_count == plain.row_count == 600
    names = plain.schema.names
    there, here = (pa.Table.from_batches(each.batches(0, 600, names)) for each in (table, plain))
    assert there.equals(here)
    if seen:
        assert seen[0].names == plain.schema.names
        assert lookers.heard[-1][1] == lookers.heard[-1][2]


def test_of_many_files_the_row_that_is_wrong_is_named(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text("y,x\n" + "1,2\n" * 100 + ("1,2,3\n" if number == 1 else ""))
    with ranges(100), pytest.raises(DataError, match=r"1\.csv: row 101 .* has 3 fields"):
        open_table(tmp_path, looking=Looking(Apart(), nothing))


def dataset(
    path: Path, lookers: Apart | None, foreseen: Callable[[Dataset], None] | None = None, **changes: object
) -> Dataset:
    asked = {
        "train": str(path),
        "validation": 0.2,
        "target": "y",
        "features": None,
        "task": "regression",
        "seed": 0,
    } | changes
    return Dataset.open(**asked, lookers=lookers, foreseen=foreseen)  # type: ignore[arg-type]


def test_a_dataset_checks_columns_first(tmp_path: Path) -> None:
    path, lookers, seen = tmp_path / "t.csv", Apart(), []
    path.write_text("a,b,y\n" + "1,2,3\n" * 500)
    (tmp_path / "v.csv").write_text("a,y\n" + "1,2\n" * 900)
    with ranges(1000):
        for changes in ({"target": "z"}, {"features": ["c"]}, {"weight": "w"}):
            with pytest.raises(DataError, match="no column"):
                dataset(path, lookers, **changes)
        for changes in ({}, {"weight": "y", "target": "a"}):
            path.write_text("a,b,y\n" + "1,2,3\n" * 100 + "1,2,x\n" * 400)
            with pytest.raises(DataError, match=r"column 'y'.* row 101 .*'x'"):
                dataset(path, lookers, **changes)
        path.write_text("a,b,y\n" + "1,2,3\n" * 500)
        assert not lookers.asked
        here = dataset(path, lookers, seen.append)
        with pytest.raises(DataError, match="no column 'b'"):
            dataset(path, lookers, validation=str(tmp_path / "v.csv"))
    assert [(each.features, each.expected_inputs) for each in seen] == [(("a", "b"), 2)]
    there = dataset(path, None)
    assert (here, here.fingerprint()) == (there, there.fingerprint())


@pytest.mark.parametrize(("reader", "text"), [(CsvTable, "a,b\n" + "1,2\n" * 100), (LibsvmTable, "1 1:2\n" * 100)])
def test_a_file_that_is_written_meanwhile(reader: type[CsvTable | LibsvmTable], text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(text)
    source = LocalFile(path, str(path))
    scan = TextScan.of(source, reader.rows(source))
    for other in (text + text, text[:50]):
        path.write_text(other)
        with pytest.raises(DataError, match=r"bytes; it had .* when reading it began"):
            scan.here()


@pytest.mark.parametrize("lookers", [None, Apart()])
def test_of_a_file_in_a_store_ranges_are_read(lookers: Apart | None, tmp_path: Path, s3: S3) -> None:
    """By whoever looks through it: no copy of the whole."""
    text = "a,b\n" + "".join(f"{row},{row / 2}\n" for row in range(60_000))
    (tmp_path / "t.csv").write_text(text)
    open_folder(s3.url).upload(tmp_path / "t.csv", "t.csv")
    s3.requests.clear()
    with ranges(1 << 18):
        there = open_table(f"{s3.url}/t.csv", looking=None if lookers is None else Looking(lookers, nothing))
        gets = [line for line in s3.requests if line.startswith("GET") and "t.csv" in line]
        assert all("bytes=" in line for line in gets), gets
        assert facts(there) == facts(open_table(tmp_path / "t.csv"))
    assert lookers is None or len(lookers.asked) > 2


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@given(ROWS, END, st.booleans(), st.integers(1, 30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_compressed_text_teaches_the_same_whoever_looks(
    packing: str, tmp_path: Path, rows: list[list[str]], end: str, ends: bool, piece: int
) -> None:
    """Names, types, where the rows are, and what is wrong."""
    text = end.join(["one,two", *map(",".join, rows)]) + (end if ends else "")
    (tmp_path / f"t.csv{packing}").write_bytes(packed(text.encode(errors="surrogateescape"), packing))
    with ranges(1 << 20, piece, 1 << 30):
        alone = opened(tmp_path / f"t.csv{packing}", Apart())
    with ranges(1 << 20, piece):
        lookers = Apart()
        assert opened(tmp_path / f"t.csv{packing}", lookers) == alone
        assert isinstance(alone, str) or len(lookers.asked) == 1


def test_who_has_compressed_text_looked_through_does_not_unpack_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor to read its first rows; who reads others does so once."""
    text = "a,b\n" + "".join(f"{row},{row % 7}\n" for row in range(2_000_000))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode(), 1))
    copies: list[object] = []
    make = unpacked.nameless_copy
    monkeypatch.setattr(unpacked, "nameless_copy", lambda read: copies.append(1) or make(read))
    seen: list[int] = []
    with ranges(1 << 20):
        table = open_table(tmp_path / "t.csv.gz", looking=Looking(Apart(), lambda first: seen.append(first.row_count)))
    assert table.row_count == 2_000_000
    assert 50_000 < seen[0] < 1_000_000
    assert next(table.batches(0, 10, ["b"])).column(0).to_pylist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]
    assert copies == []
    told = open_table(tmp_path / "t.csv.gz", table.learnt())
    for start in (1_999_990, 3, 1_000_000):
        rows = [row for batch in told.batches(start, start + 10, ["a"]) for row in batch.column(0).to_pylist()]
        assert rows == list(range(start, start + 10))
    assert copies == [1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-9], r"t\.csv\.gz: truncated, damaged, or not compressed by gzip"),
        (lambda data: b"", r"t\.csv\.gz: the file is empty"),
        (lambda data: gzip.compress(b""), r"t\.csv\.gz: unpacks to nothing; expected a table"),
        (
            lambda data: gzip.compress(gzip.decompress(data) + b"1,2,3\n"),
            r"t\.csv\.gz: row 4 .* has 3 fields; expected 2",
        ),
    ],
)
def test_compressed_text_that_is_refused_in_the_same_words(
    change: Callable[[bytes], bytes], words: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv.gz").write_bytes(change(gzip.compress(b"one,two\n1,2\n3,4\n5,6\n")))
    told = opened(tmp_path / "t.csv.gz", None)
    with ranges(1 << 20):
        assert opened(tmp_path / "t.csv.gz", Apart()) == told
    assert re.search(words, str(told))


def test_compressed_text_that_changes(tmp_path: Path) -> None:
    """Also to something as long as before: whoever unpacks it then notices."""
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"one,two\n1,2\n3,4\n", mtime=0))
    with ranges(1 << 20):
        learnt = open_table(path, looking=Looking(Apart(), nothing)).learnt()
    path.write_bytes(gzip.compress(b"one,two\n1,2\n3,4\n5,6\n", mtime=0))
    file = UnpackedFile(LocalFile(path, str(path)), ".gz")
    file.require_size(16)
    with pytest.raises(DataError, match=r"20 bytes; it had 16 when the job began"):
        file.local()
    path.write_bytes(gzip.compress(b"one,two\n1,2\n3,5\n", mtime=0))
    with pytest.raises(DataError, match=r"rows 1 to 2 .* are not what they were when the job began"):
        list(open_table(path, learnt).batches(0, 2, ["one"]))


def packed(data: bytes, packing: str) -> bytes:
    if packing == ".gz":
        return gzip.compress(data)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())
