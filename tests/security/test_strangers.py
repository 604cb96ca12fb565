"""Files that would run code in a careless reader: they are refused, and the code has not run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_input.conftest import Dbp


class _Mine:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def _objects(mark: Path) -> bytes:
    buffer = io.BytesIO()
    cells = np.empty((1, 1), object)
    cells[0, 0] = _Mine(mark)
    np.savez(buffer, x=cells, y=np.zeros(1))
    return buffer.getvalue()


def test_the_mine_is_one(tmp_path: Path) -> None:
    """Otherwise the rest would prove nothing."""
    pickle.loads(pickle.dumps(_Mine(tmp_path / "mark")))
    assert (tmp_path / "mark").is_dir()


def test_no_reader_unpickles(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """As a table, a model, a model to start from."""
    mark = tmp_path / "mark"
    (tmp_path / "mine.npz").write_bytes(_objects(mark))
    (tmp_path / "mine.safetensors").write_bytes(pickle.dumps(_Mine(mark)))
    dbp("run", "job.yaml", "--set", "data.train=mine.npz").refuses(
        "mine.npz: damaged, or no .npz archive of plain arrays"
    )
    dbp("predict", "mine.safetensors", "table.csv").refuses("mine.safetensors: not a safetensors file of dbp")
    dbp("run", "job.yaml", "--set", "network.start_from=mine.safetensors").refuses(
        "mine.safetensors: not a safetensors"
    )
    assert not mark.exists()


def test_a_checkpoint_that_is_a_pickle(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """It is passed over with its name; the good one before it serves."""
    assert dbp("run", "job.yaml", "--id", "a-1", "--quiet").code == 0
    (tmp_path / "runs/a-1/checkpoints/step-00000099.safetensors").write_bytes(pickle.dumps(_Mine(tmp_path / "mark")))
    ran = dbp("resume", "a-1", "--set", "training.max_steps=9")
    assert ran.code == 0, ran.err
    assert "step-00000099.safetensors: not a safetensors file of dbp" in ran.err
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.mkdir [{mark}]\n",
        "!!python/object/new:os.mkdir [{mark}]\n",
        "name: !<tag:yaml.org,2002:python/object/apply:os.mkdir> [{mark}]\n",
        "name: $(mkdir {mark})\n",
        "name: '; mkdir {mark}'\n",
        "name: '{{{{ mkdir(\"{mark}\") }}}}'\n",
    ],
)
def test_a_job_file_is_data(dbp: Dbp, job: Path, tmp_path: Path, text: str) -> None:
    """Tags are refused, and what a shell or a template would take for code is a name that cannot be."""
    mark = tmp_path / "mark"
    job.write_text(text.format(mark=mark) + ("" if text.startswith("!") else job.read_text().partition("\n")[2]))
    dbp("run", "job.yaml").refuses("error: job.yaml: ")
    assert not mark.exists()


def test_aliases_do_not_multiply(dbp: Dbp, job: Path) -> None:
    """Ten lists of ten aliases each would be 10^10 values: the first alias is refused."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11))]
    job.write_text("\n".join(lines) + "\n")
    dbp("run", "job.yaml").refuses("line 1, column 5", "anchors (&name) are not allowed")


def test_names_of_members_lead_nowhere(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """An archive is read array by array, and nothing is unpacked under a name of its own."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 2)))
    for name in ("../x.npy", "/tmp/x.npy", "..\\x.npy", "x\x1b[31m.npy"):
        with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
            archive.writestr(name, buffer.getvalue())
        ran = dbp("run", "job.yaml", "--set", "data.train=odd.npz")
        ran.refuses("odd.npz: arrays ", "expected x (rows, columns)")
        assert "\x1b" not in ran.err


def test_columns_with_names_of_paths(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """Columns are found by name, and their names are in no path: the job runs, and writes where it always does."""
    text = (tmp_path / "table.csv").read_text().replace("n,x,label", "../../n,/etc/x,label", 1)
    (tmp_path / "table.csv").write_text(text)
    ran = dbp("run", "job.yaml", "--id", "a-1", "--quiet")
    assert ran.code == 0, ran.err
    inside = tmp_path / "runs/a-1"
    assert {path for path in ran.touched if inside not in path.parents} <= {inside, inside.parent}


def test_an_array_that_claims_more_than_it_holds(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """The header says eight terabytes, the archive 16 bytes: told before memory is asked for."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1), }"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + bytes(16)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("x.npy", data)
    ran = dbp("run", "job.yaml", "--set", "data.train=bomb.npz")
    ran.refuses("bomb.npz: ", "x.npy says it has the shape (1000000000000, 1)")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_that_says_it_holds_more_than_it_can(method: int, dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """A petabyte, by its own directory and the array's header: refused by that number, before a row is read."""
    shape = f"({10**15 - 128}, 1)"
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    entry = zipfile.ZipInfo("x.npy")
    entry.compress_type = method
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr(entry, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(10**6))
        entry.file_size = 10**15  # written to the directory at the end when the archive is closed
    ran = dbp("run", "job.yaml", "--set", "data.train=bomb.npz")
    ran.refuses("bomb.npz: ", "x.npy says it is 1,000,000,000,000,000 bytes, for which the file has no room")


def test_a_small_table_of_many_rows_is_refused_by_its_metadata(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """10 million rows in some kilobytes: what does not fit is told before a row is read."""
    rows = pa.table({"n": np.zeros(1_000_000), "x": np.zeros(1_000_000)})
    with pq.ParquetWriter(tmp_path / "bomb.parquet", rows.schema, compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(rows)
    assert (tmp_path / "bomb.parquet").stat().st_size < 200_000
    dbp("run", "job.yaml", "--set", "data.train=bomb.parquet").refuses("no column 'label'")
