"""The Ray actor that computes spans of a table."""

from __future__ import annotations

import os
from typing import Any

from dbp.data.open_table import open_table
from dbp.errors import DataError, DbpError
from dbp.models.spans import SpanReader, Task

BEATS = "beats"  # the concurrency group of signs of life


class SpanWorker:
    """Opens the table when first asked, and answers one call at a time; `beat` is to be called in a group of its own."""

    def __init__(self, task: Task[Any], path: str, source: str, rows: int, learnt: object | None) -> None:
        self._task, self._path, self._source, self._rows, self._learnt = task, path, source, rows, learnt
        self._reader: SpanReader | None = None

    def ready(self) -> tuple[int, Any]:
        """Return the process id, and what this node computes with (a `NodeReport`)."""
        import pyarrow as pa
        import ray

        from dbp.workers.nodes import NodeReport, own_versions

        pa.set_cpu_count(1)  # as many threads as CPUs were asked for
        return os.getpid(), NodeReport(str(ray.util.get_node_ip_address()), own_versions())

    def beat(self) -> None:
        """Give a sign of life."""

    def compute(self, start: int, stop: int) -> Any:
        """Return the result of a span, or the DbpError that ended it."""
        try:
            if self._reader is None:
                self._reader = self._opened()
            return self._task.compute(self._reader.batches(start, stop))
        except DbpError as error:
            return error

    def _opened(self) -> SpanReader:
        import ray

        node = ray.util.get_node_ip_address()
        try:
            table = open_table(self._path, self._learnt)
        except DataError as error:
            raise DataError(f"{error} (on node {node}; all workers must see the table)") from error
        if table.row_count != self._rows:
            raise DataError(
                f"{self._source}: has {table.row_count:,} rows on node {node}, and {self._rows:,} here; expected the same file"
            )
        return SpanReader(table, self._task.columns, self._source)
