"""Parquet files. Only the row groups that overlap the rows asked for are read; page checksums are verified where there are any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dbp.data.table import BATCH_ROWS, require_unique
from dbp.data.table_file import LocalFile, TableFile, kept_by
from dbp.errors import DataError

_BATCH_BYTES = 16 << 20  # of decoded numbers: a batch of a wide table takes as much memory as a row group, twice


def _batch_rows(columns: int) -> int:
    return min(max(_BATCH_BYTES // (8 * max(columns, 1)), 1), BATCH_ROWS)


class ParquetTable:
    """See `Table`."""

    def __init__(self, source: TableFile, file: pq.ParquetFile) -> None:
        self._source = source
        self.path = source.path
        self._file = file
        self.schema: pa.Schema = file.schema_arrow
        self.row_count: int = file.metadata.num_rows
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        self._first_rows = list(accumulate(sizes, initial=0))

    @classmethod
    def open(cls, source: TableFile, learnt: object | None = None) -> ParquetTable:
        """Read the file's metadata. DataError when it is truncated or no Parquet, StorageError when it cannot be read."""
        place = source.local() if isinstance(source, LocalFile) else source.open_ranges()
        try:
            table = cls(source, pq.ParquetFile(place, page_checksum_verification=True))
        except (pa.ArrowException, OSError) as error:
            if not isinstance(place, Path):
                place.close()
            raise DataError(f"{source.path}: truncated, or not a Parquet file ({_first_line(error)})") from error
        if not isinstance(place, Path):
            kept_by(table, place)
        require_unique(source.path, table.schema.names)
        return table

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`."""
        groups = [
            group
            for group, (first, end) in enumerate(zip(self._first_rows, self._first_rows[1:], strict=False))
            if first < stop and start < end
        ]
        if not groups:
            return
        place = self._first_rows[groups[0]]
        try:
            for batch in self._file.iter_batches(_batch_rows(len(columns)), row_groups=groups, columns=list(columns)):
                low, high = max(start - place, 0), min(stop - place, batch.num_rows)
                if low < high:
                    yield batch.slice(low, high - low).select(list(columns))
                place += batch.num_rows
                if place >= stop:
                    return
        except MemoryError:  # Arrow's is one of its own, too
            raise
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path}: damaged near row {place + 1} ({_first_line(error)})") from error

    def has_ranges(self) -> bool:
        """See `Table`."""
        return self._source.has_ranges()

    def fingerprint(self) -> str:
        """See `Table`."""
        return self._source.fingerprint()

    def learnt(self) -> None:
        """See `Table`. The footer says it all."""

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """See `Table`. Arrow reads the columns of a whole row group at once, and of two where rows lie in both."""
        metadata, chosen, largest = self._file.metadata, set(columns), 0
        for group in range(metadata.num_row_groups):
            chunks = (metadata.row_group(group).column(place) for place in range(metadata.num_columns))
            needed = sum(int(each.total_uncompressed_size) for each in chunks if each.path_in_schema in chosen)
            largest = max(largest, needed)
        return min(int(metadata.num_row_groups), 2) * largest + 2 * _BATCH_BYTES


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
