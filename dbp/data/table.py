"""What a table is to dbp: a schema, a number of rows, and any run of rows as a stream of record batches."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from dbp.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 65_536
WHOLE_BYTES = 256 << 20  # of which a fingerprint reads every byte
_EDGE_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20

ROW_NUMBERS = "counted from 1, header not counted"


class Table(Protocol):
    """A table in a file. Opening one reads metadata; rows are read when asked for."""

    @property
    def path(self) -> str:
        """The path as the user wrote it, for messages."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        ...

    @property
    def row_count(self) -> int:
        """The number of rows."""
        ...

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield rows [start, stop) of some columns, in the file's order, in batches of at most BATCH_ROWS rows."""
        ...

    def has_ranges(self) -> bool:
        """Whether a process that opens it reads rows without those before them."""
        ...

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) of the contents; see `file_fingerprint`."""
        ...

    def learnt(self) -> object | None:
        """Return what opening the table found out by reading rows; None where metadata were enough.

        `open_table` takes it instead of reading the rows again. It is small, and can be pickled.
        """
        ...

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """Return about how much memory reading a few rows of some columns takes, besides those rows."""
        ...


def require_columns(table: Table, columns: Iterable[str]) -> None:
    """Raise DataError naming every column that the table lacks, with the nearest names that it has."""
    known = table.schema.names
    missing = [name for name in columns if name not in known]
    if missing:
        raise DataError(f"{table.path}: {describe_missing(missing, known)}")


def require_unique(path: str, columns: Sequence[str]) -> None:
    """Raise DataError when two columns of a table share a name."""
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise DataError(f"{path}: column {repeated[0]!r} is there twice; expected a name of its own for each column")


def describe_missing(missing: Sequence[str], known: Sequence[str]) -> str:
    """Return words for columns that are not there, each with its nearest names."""
    words = []
    for name in missing[:10]:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        words.append(repr(name) + (f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""))
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"no column {', '.join(words)}{more}; the columns are: {shown}"


def file_fingerprint(path: Path) -> str:
    """Return a SHA-256 (hex) over the bytes of a file; over 256 MiB, of its size and its first and last 64 MiB."""
    with open(path, "rb") as file:
        return stream_fingerprint(file, os.path.getsize(path))


def stream_fingerprint(file: BinaryIO, size: int, edge_bytes: int | None = None) -> str:
    """Return `file_fingerprint` of an open file that can be sought: the same for the same bytes, wherever they are kept.

    With `edge_bytes` it is that of the size and so many bytes at either end, whatever the size.
    """
    digest = hashlib.sha256()
    if edge_bytes is None and size <= WHOLE_BYTES:
        _take(digest, file, 0, None)
    else:
        edge = min(_EDGE_BYTES if edge_bytes is None else edge_bytes, size)
        digest.update(str(size).encode())
        _take(digest, file, 0, edge)
        _take(digest, file, size - edge, edge)
    return digest.hexdigest()


def _take(digest: hashlib._Hash, file: BinaryIO, start: int, left: int | None) -> None:
    """Take bytes of a file from a place on, so many or all, a mebibyte at a time."""
    file.seek(start)
    while chunk := file.read(_CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left)):
        digest.update(chunk)
        left = None if left is None else left - len(chunk)
