"""Tables written in every format that keeps the names of columns: label, and 1 to WIDTH, as libsvm has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq

from dbp.data.formats import ENDINGS

WIDTH = 5


def _packed(write: Callable[[pa.Table, Path], object], table: pa.Table, path: Path) -> None:
    plain = path.with_suffix("")
    write(table, plain)
    codec = {".gz": "gzip", ".zst": "zstd"}[path.suffix]
    with pa.CompressedOutputStream(str(path), codec) as packed:
        packed.write(plain.read_bytes())
    plain.unlink()


def _libsvm(table: pa.Table, path: Path) -> None:
    """With all digits: scikit-learn writes 16 of 17."""
    rows = zip(*(table[name].to_pylist() for name in table.schema.names), strict=True)
    lines = (
        " ".join([str(label), *(f"{index}:{value!r}" for index, value in enumerate(values, 1) if value)])
        for label, *values in rows
    )
    path.write_text("\n".join(lines) + "\n")


def _feather(table: pa.Table, path: Path) -> None:
    pyarrow.feather.write_feather(table, path, compression="lz4", chunksize=700)


def _arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        for start in range(0, len(table), 900):
            writer.write_table(table.slice(start, 900).combine_chunks())


def _text(delimiter: str) -> Callable[[pa.Table, Path], object]:
    return lambda table, path: pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(delimiter=delimiter))


WRITERS: dict[str, Callable[[pa.Table, Path], object]] = {
    ".parquet": lambda table, path: pq.write_table(table, path, row_group_size=800),
    ".csv": _text(","),
    ".tsv": _text("\t"),
    ".arrow": _arrow,
    ".feather": _feather,
    ".svm": _libsvm,
    ".libsvm": _libsvm,
}  # fmt: skip
NAMED = [ending for ending in ENDINGS if ending not in (".npz", ".npy")]  # formats that keep the names of columns


def write(table: pa.Table, path: Path) -> Path:
    """Write a table in the format of the path's ending."""
    if path.suffix in (".gz", ".zst"):
        _packed(WRITERS[path.with_suffix("").suffix], table, path)
    else:
        WRITERS[path.suffix](table, path)
    return path
