"""A table's rows in spans: what is computed of each is a function of its rows alone, so anyone may compute any, twice if need be.

Spans are handed out in order and taken back in order. In one process that is a loop (`here`); among workers see
`dbp.workers.scoring`. How long a span is depends on the task and the table, never on who computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from dbp.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.table import Table
    from dbp.models.model import Batch

Span: TypeAlias = tuple[int, int]  # rows [start, stop)
Progress: TypeAlias = Callable[[int, int], None]  # rows done, rows in all

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Task(Protocol[T_co]):
    """What is to be done with each span of a table. It travels to workers."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it needs."""
        ...

    @property
    def span_rows(self) -> int:
        """The rows of a span."""
        ...

    @property
    def result_bytes(self) -> int:
        """About how large the result of a span is."""
        ...

    def compute(self, batches: Iterable[Batch]) -> T_co:
        """Return what a span's rows amount to."""
        ...


def spans(rows: int, span_rows: int) -> list[Span]:
    """Return the spans of a table, in order."""
    return [(start, min(start + span_rows, rows)) for start in range(0, rows, span_rows)]


def here(task: Task[T], table: Table, progress: Progress | None = None) -> Iterator[T]:
    """Yield the results of all spans, in order, computed in this process."""
    reader = SpanReader(table, task.columns)
    for start, stop in spans(table.row_count, task.span_rows):
        yield task.compute(reader.batches(start, stop))
        if progress is not None:
            progress(stop, table.row_count)


class SpanReader:
    """Reads spans of a table, best in rising order: spans that follow each other are read in one go.

    `source` is what messages call the table.
    """

    def __init__(self, table: Table, columns: tuple[str, ...], source: str | None = None) -> None:
        from dbp.data.table import require_columns

        require_columns(table, columns)
        self._table, self._columns = table, columns
        self._source = source or table.path
        self._place = 0  # the row that comes next
        self._coming: Iterator[pa.RecordBatch] | None = None
        self._left: pa.RecordBatch | None = None  # of a batch that was begun

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield rows [start, stop)."""
        from dbp.models.model import Batch

        if self._coming is None or start != self._place:
            self._coming = self._table.batches(start, self._table.row_count, self._columns)
            self._place, self._left = start, None
        while self._place < stop:
            batch = self._next()
            first, end = self._place, self._place + batch.num_rows
            low, high = max(start, first), min(stop, end)
            self._place = max(high, min(end, start))
            self._left = batch.slice(self._place - first) if self._place < end else None
            if low < high:
                yield Batch(batch.slice(low - first, high - low), self._source, low)

    def _next(self) -> pa.RecordBatch:
        if self._left is not None:
            return self._left
        assert self._coming is not None
        try:
            return next(self._coming)
        except StopIteration:
            raise DataError(
                f"{self._source}: ends at row {self._place:,}, and had {self._table.row_count:,} rows when it was opened; "
                "expected a table that does not change while it is read"
            ) from None
