"""Every format: the rows of the Parquet file of the same table, in any range, here and in a store; and what is refused."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_server import S3
from scipy.sparse import csr_matrix, random_array
from sklearn.datasets import dump_svmlight_file, load_svmlight_file
from table_files import NAMED, WIDTH, write

from dbp.data import text_index
from dbp.data.formats import ENDINGS
from dbp.data.open_table import open_table
from dbp.data.table import BATCH_ROWS, Table
from dbp.errors import DataError
from dbp.storage.remote import open_folder

ROWS = 3001


def rows_of(table: Table, start: int = 0, stop: int | None = None, columns: list[str] | None = None) -> pa.Table:
    names = table.schema.names if columns is None else columns
    batches = list(table.batches(start, table.row_count if stop is None else stop, names))
    assert all(0 < batch.num_rows <= BATCH_ROWS for batch in batches)
    return pa.Table.from_batches(batches, pa.schema([table.schema.field(name) for name in names]))


@pytest.fixture(scope="module")
def sparse() -> np.ndarray:
    matrix: np.ndarray = random_array((ROWS, WIDTH), density=0.4, rng=np.random.default_rng(2)).toarray()
    matrix[7], matrix[-1, -1] = 0, 0.1
    return matrix


@pytest.fixture(scope="module")
def original(sparse: np.ndarray) -> pa.Table:
    """The columns are called as libsvm's: label, and 1 to 5."""
    columns = {str(column + 1): sparse[:, column] for column in range(WIDTH)}
    return pa.table({"label": np.arange(ROWS) % 3, **columns})


@pytest.fixture(scope="module", params=NAMED)
def place(request: pytest.FixtureRequest, original: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(original, tmp_path_factory.mktemp("format") / f"table{request.param}")


@pytest.fixture(scope="module")
def tables(place: Path) -> tuple[Table, Table]:
    """The table as it is opened first, and by a process that was told what that one learnt."""
    with patch.object(text_index, "PIECE_BYTES", 1 << 14):
        table = open_table(place)
    return table, open_table(place, pickle.loads(pickle.dumps(table.learnt())))


@given(st.integers(-3, ROWS + 3), st.integers(-3, ROWS + 3), st.permutations(["label", "1", "2", "3", "4", "5"]))
@settings(max_examples=12, deadline=None)
def test_any_range_is_the_slice(
    tables: tuple[Table, Table], original: pa.Table, start: int, stop: int, names: list[str]
) -> None:
    """Bit for bit, in columns of any order; also where another process has opened the file."""
    columns = names[: 1 + abs(start) % 6]
    low, high = max(start, 0), max(min(stop, ROWS), 0)
    expected = original.select(columns).slice(low, max(high - low, 0))
    assert all(rows_of(table, start, stop, columns).equals(expected) for table in tables)


def test_the_whole_table(tables: tuple[Table, Table], original: pa.Table) -> None:
    """Types, names, order."""
    for table in tables:
        assert table.schema.equals(original.schema)
        assert table.row_count == ROWS
        assert rows_of(table).equals(original)


@pytest.mark.parametrize("ending", [".tsv", ".csv.zst", ".feather", ".svm", ".npy"])
def test_a_table_in_a_store(ending: str, tmp_path: Path, original: pa.Table, s3: S3) -> None:
    """The same rows and fingerprint, also of two files in a folder."""
    if ending == ".npy":
        matrix = np.column_stack(original.columns)
        np.save(tmp_path / "t.npy", matrix)
        original = pa.table({f"x{column}": np.ascontiguousarray(matrix[:, column]) for column in range(WIDTH + 1)})
    else:
        write(original, tmp_path / f"t{ending}")
    for name in ("a", "b"):
        open_folder(s3.url).upload(tmp_path / f"t{ending}", f"many/{name}{ending}")
    there = open_table(f"{s3.url}/many/a{ending}")
    assert there.fingerprint() == open_table(tmp_path / f"t{ending}").fingerprint()
    assert rows_of(there).equals(original)
    told = open_table(there.path, pickle.loads(pickle.dumps(there.learnt())))
    assert rows_of(told, 1234, 1300).equals(original.slice(1234, 66))
    both = open_table(f"{s3.url}/many")
    assert rows_of(both, ROWS - 2, ROWS + 2).equals(pa.concat_tables([original.slice(ROWS - 2), original.slice(0, 2)]))


def test_libsvm_as_scikit_learn_writes_and_reads_it(tmp_path: Path, sparse: np.ndarray) -> None:
    """Its header of comments, counted from 0 or from 1; the numbers that it reads."""
    for zero_based in (True, False):
        path = tmp_path / f"{zero_based}.svm"
        dump_svmlight_file(csr_matrix(sparse), np.arange(ROWS) % 2, str(path), zero_based=zero_based, comment="c")
        x, y = load_svmlight_file(str(path), zero_based=zero_based)
        found = rows_of(open_table(path))
        assert found.schema.names == ["label", *(str(column + (not zero_based)) for column in range(WIDTH))]
        np.testing.assert_array_equal(np.column_stack(found.columns[1:]), x.toarray())
        np.testing.assert_array_equal(found["label"], y)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i4", "|u1", "|b1", "<f2"])
def test_npy(tmp_path: Path, order: str, dtype: str) -> None:
    """A matrix by rows or by columns, of any byte order; columns are called x0, x1, ..."""
    matrix = np.asarray(np.arange(ROWS * 3).reshape(ROWS, 3) % 200, dtype=dtype, order=order)
    np.save(tmp_path / "t.npy", matrix)
    table = open_table(tmp_path / "t.npy")
    native = matrix.astype(matrix.dtype.newbyteorder("="))
    expected = pa.table({f"x{column}": np.ascontiguousarray(native[:, column]) for column in range(3)})
    assert rows_of(table).equals(expected)
    with patch("dbp.data.matrix.BATCH_BYTES", 1000):
        assert rows_of(table, 5, 2000, ["x2", "x0"]).equals(expected.select(["x2", "x0"]).slice(5, 1995))


def test_libsvm_by_hand(tmp_path: Path) -> None:
    """Comments, blank lines, indices in any order, an index 0, labels that are no whole numbers."""
    (tmp_path / "a.svm").write_text("# made by hand\n+1 2:0.5 1:-1e-3 # first\n\n-1\n1 3:7 \r\n")
    (tmp_path / "b.svm").write_text("0.5 0:2\n1 1:3")
    (tmp_path / "c.libsvm").write_text("1\n2\n")
    a, b, c = (open_table(tmp_path / name) for name in ("a.svm", "b.svm", "c.libsvm"))
    assert rows_of(a).to_pydict() == {
        "label": [1, -1, 1], "1": [-1e-3, 0.0, 0.0], "2": [0.5, 0.0, 0.0], "3": [0.0, 0.0, 7.0],
    }  # fmt: skip
    assert rows_of(b).to_pydict() == {"label": [0.5, 1.0], "0": [2.0, 0.0], "1": [0.0, 3.0]}
    assert rows_of(c).to_pydict() == {"label": [1, 2]}
    both = open_table(f"{tmp_path}/[ab].svm")
    assert both.schema.names == ["label", "0", "1", "2", "3"]
    assert rows_of(both)["label"].to_pylist() == [1.0, -1.0, 1.0, 0.5, 1.0]


LIBSVM = {
    "qid": (
        "1 1:2\n1 qid:3 1:2\n",
        "row 2 (counted from 1, header not counted): 'qid:3': groups of a ranking are not known",
    ),
    "no label": (
        "1 1:2\n1:2 2:3\n",
        "row 2 (counted from 1, header not counted): '1:2'; expected a number as the label",
    ),
    "a word": ("1 1:2\n\n1 1:2 two:3\n", "row 2 (counted from 1, header not counted): 'two:3'; expected index:value"),
    "two labels": ("1,2 1:2\n", "row 1 (counted from 1, header not counted): '1,2'; expected a number as the label"),
    "three parts": ("1 1:2:3\n", "'1:2:3'; expected index:value"),
    "a negative index": ("1 -1:2\n", "'-1:2'; expected index:value"),
    "twice": ("1 1:2\n1 2:2 1:1 2:2\n", "row 2 (counted from 1, header not counted): the index 2 is there twice"),
    "wide": ("1 1:2 123456:1\n", "has an index 123456; expected at most 100,000 columns"),
}


@pytest.mark.parametrize("case", LIBSVM)
def test_libsvm_that_is_refused(tmp_path: Path, case: str) -> None:
    """The row and the word, in the first piece or in a later one."""
    text, words = LIBSVM[case]
    (tmp_path / "t.svm").write_text(text)
    for size in (1, 1 << 20):
        with patch.object(text_index, "PIECE_BYTES", size), pytest.raises(DataError) as refusal:
            open_table(tmp_path / "t.svm")
        assert words in str(refusal.value)
        assert str(refusal.value).startswith(f"{tmp_path}/t.svm: ")


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending.endswith((".gz", ".zst"))])
def test_a_compressed_file_that_is_truncated_or_damaged(tmp_path: Path, original: pa.Table, ending: str) -> None:
    """Wherever it is cut, nothing of it is taken for the whole; a changed byte is noticed where the format keeps a checksum."""
    whole = write(original, tmp_path / f"t{ending}").read_bytes()
    for length in (1, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / f"t{ending}").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"t\.\S+: truncated, damaged, or not compressed by (gzip|zstd) \("):
            open_table(tmp_path / f"t{ending}")
    (tmp_path / f"t{ending}").write_bytes(b"x,y\n1,2\n")
    with pytest.raises(DataError, match="not compressed by"):
        open_table(tmp_path / f"t{ending}")


def test_a_gzip_of_several_members_and_an_empty_one(tmp_path: Path) -> None:
    """As written by tools that append; nothing is passed over."""
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"x\n1\n") + gzip.compress(b"2\n3\n"))
    assert rows_of(open_table(tmp_path / "t.csv.gz"))["x"].to_pylist() == [1, 2, 3]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match=r"t\.csv\.gz: unpacks to nothing; expected a table"):
        open_table(tmp_path / "t.csv.gz")


@pytest.mark.parametrize("ending", [".arrow", ".feather", ".npy"])
def test_binary_files_that_are_damaged(tmp_path: Path, original: pa.Table, ending: str) -> None:
    """Cut anywhere, or of another kind: refused with the file's name, never read as something else."""
    path = tmp_path / f"t{ending}"
    if ending == ".npy":
        np.save(path, np.arange(6000.0).reshape(-1, 3))
    else:
        write(original, path)
    whole = path.read_bytes()
    for content in (whole[:3], whole[: len(whole) // 2], whole[:-1], b"x,y\n1,2\n", whole[8:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"t\{ending}: (truncated, or not|damaged, or not|is \S+ bytes)"):
            open_table(path)


def test_damage_within_a_record_batch(tmp_path: Path, original: pa.Table) -> None:
    """Near which row, where the bytes cannot be unpacked."""
    path = write(original, tmp_path / "t.feather")
    whole = bytearray(path.read_bytes())
    learnt = open_table(path).learnt()
    middle = len(whole) // 2
    whole[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"t\.feather: damaged near row \d+"):
        rows_of(open_table(path, learnt))


NPY = {
    "a vector": (np.arange(3.0), "has shape (3,); expected (rows, columns)"),
    "complex": (np.ones((2, 2), complex), "is of type complex128; expected numbers or booleans"),
    "text": (np.array([["a", "b"]]), "is of type <U1; expected numbers or booleans"),
    "records": (np.zeros((2, 1), [("a", "i4")]), "expected numbers or booleans"),
}


@pytest.mark.parametrize("case", NPY)
def test_npy_that_is_refused(tmp_path: Path, case: str) -> None:
    """What was seen, and what was expected."""
    array, words = NPY[case]
    np.save(tmp_path / "t.npy", array)
    with pytest.raises(DataError) as refusal:
        open_table(tmp_path / "t.npy")
    assert words in str(refusal.value)


def test_two_columns_of_one_name_in_an_arrow_file(tmp_path: Path) -> None:
    """Refused as in every format; and a file without columns."""
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pa.ipc.new_file(tmp_path / "t.arrow", twice.schema) as writer:
        writer.write_table(twice)
    with pytest.raises(DataError, match="column 'a' is there twice"):
        open_table(tmp_path / "t.arrow")
    with pa.ipc.new_file(tmp_path / "t.arrow", pa.schema([])) as writer:
        writer.write_table(pa.table({}))
    with pytest.raises(DataError, match="has no columns"):
        open_table(tmp_path / "t.arrow")
