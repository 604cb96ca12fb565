"""Arrow IPC files (Feather, since its second version). Mapped into memory; of record batches those that hold the rows are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa

from dbp.data.table import BATCH_ROWS, require_unique
from dbp.data.table_file import LocalFile, TableFile
from dbp.errors import DataError


@dataclass(frozen=True)
class ArrowLearnt:
    """How many rows each record batch has: a file does not say so in one place."""

    size: int
    rows: tuple[int, ...]


class ArrowTable:
    """See `Table`."""

    def __init__(self, source: TableFile, schema: pa.Schema, learnt: ArrowLearnt) -> None:
        self._source, self._learnt = source, learnt
        self.path = source.path
        self.schema = schema
        self._first_rows = list(accumulate(learnt.rows, initial=0))
        self.row_count = self._first_rows[-1]

    @classmethod
    def open(cls, source: TableFile, learnt: object | None = None) -> ArrowTable:
        """Read the footer and, unless they are `learnt`, how many rows each record batch has. DataError when damaged."""
        size = source.size()
        if isinstance(learnt, ArrowLearnt) and size != learnt.size:
            raise DataError(f"{source.path}: {size:,} bytes; it had {learnt.size:,} when the job began")
        try:
            with _opened(source) as reader:
                schema = reader.schema
            if not schema.names:
                raise DataError(f"{source.path}: has no columns; expected a table")
            if not isinstance(learnt, ArrowLearnt):
                with _opened(source, [0]) as reader:
                    numbers = range(reader.num_record_batches)
                    learnt = ArrowLearnt(size, tuple(reader.get_batch(number).num_rows for number in numbers))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{source.path}: truncated, or not an Arrow IPC file ({_first_line(error)})") from error
        require_unique(source.path, schema.names)
        return cls(source, schema, learnt)

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`. Only the record batches that overlap the rows are read, and of them only the columns."""
        chosen = sorted(self.schema.get_field_index(name) for name in columns)
        number = 0
        try:
            with _opened(self._source, chosen) as reader:
                for number, (first, end) in enumerate(zip(self._first_rows, self._first_rows[1:], strict=False)):
                    low, high = max(start, first), min(stop, end)
                    if low >= high:
                        continue
                    batch = reader.get_batch(number)
                    batch.validate(full=True)
                    for place in range(low, high, BATCH_ROWS):
                        yield batch.slice(place - first, min(BATCH_ROWS, high - place)).select(list(columns))
        except MemoryError:  # Arrow's is one of its own, too
            raise
        except (pa.ArrowException, OSError) as error:
            place = self._first_rows[number] + 1
            raise DataError(f"{self.path}: damaged near row {place} ({_first_line(error)})") from error

    def has_ranges(self) -> bool:
        """See `Table`."""
        return self._source.has_ranges()

    def fingerprint(self) -> str:
        """See `Table`."""
        return self._source.fingerprint()

    def learnt(self) -> ArrowLearnt:
        """See `Table`."""
        return self._learnt

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """See `Table`. A record batch that is compressed is unpacked whole; at most 16 bytes are taken for a cell."""
        return 16 * max(self._learnt.rows, default=0) * len(columns)


def _opened(source: TableFile, columns: list[int] | None = None) -> pa.RecordBatchFileReader:
    """Return a reader of all columns, or some by their numbers."""
    file = (
        pa.memory_map(str(source.local()))
        if isinstance(source, LocalFile)
        else pa.PythonFile(source.open_ranges(), "r")
    )
    return pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=columns, use_threads=False))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
