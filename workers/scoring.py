"""Predicting and evaluating a table, in this process or by Ray workers; the same bytes and numbers for any number of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from dbp.data.open_table import open_table
from dbp.errors import InputError
from dbp.models.evaluating import EvaluationTask, Evaluator
from dbp.models.evaluation import Evaluation
from dbp.models.prediction import Predictions, prediction_file, write_predictions
from dbp.models.spans import Progress, SpanReader, Task, here, spans

if TYPE_CHECKING:
    from dbp.data.table import Table
    from dbp.models.model import Model

Warn = Callable[[str], None]
T = TypeVar("T")


def _silent(text: str) -> None:
    pass


def evaluate(
    model: Model,
    table: str | Path,
    *,
    weight: str | None = None,
    workers: int = 0,
    address: str | None = None,
    progress: Progress | None = None,
    warn: Warn = _silent,
) -> Evaluation:
    """Return how well a model predicts a table file that has the targets: `Model.evaluate` by `workers` Ray workers.

    0: in this process. `address` is a Ray cluster; without, a Ray of our own is started. `progress` hears how many rows are done,
    `warn` of workers that were lost. DataError where the table cannot be used, WorkersLostError where workers die again and again.
    """
    file = open_table(table)
    task = EvaluationTask(Evaluator(model, file.row_count, weight))
    with _computing(task, file, workers, address, progress, warn) as results:
        return task.evaluator.result((part for parts in results for part in parts), file.path)


def predict(
    model: Model,
    table: str | Path,
    out: Path | IO[bytes],
    *,
    probabilities: bool | None = None,
    workers: int = 0,
    address: str | None = None,
    progress: Progress | None = None,
    warn: Warn = _silent,
) -> tuple[int, tuple[str, ...]]:
    """Write a table's rows in their order with predictions as further columns; return how many, and the columns' names.

    `out` ends in .parquet or .csv and appears whole or not at all; to a stream, CSV is written. `probabilities` adds a column for
    each class; None: where the model has them. `workers` and the rest as for `evaluate`.
    """
    predictions = Predictions.of(model, open_table(table), probabilities)
    parquet = isinstance(out, Path) and out.suffix.lower() == ".parquet"
    task, file = predictions.task(parquet=parquet), predictions.table
    opened = prediction_file(out) if isinstance(out, Path) else nullcontext(out)
    with opened as written, _computing(task, file, workers, address, progress, warn) as results:
        return write_predictions(task, results, written, file.path, warn), predictions.names


@contextmanager
def _computing(
    task: Task[T], table: Table, workers: int, address: str | None, progress: Progress | None, warn: Warn
) -> Iterator[Iterator[T]]:
    """Lend the results of all spans, in order."""
    if workers < 0:
        raise InputError(f"workers: {workers}; expected 0 (this process) or more")
    if workers == 0:
        if address is not None:
            raise InputError(f"--address {address}: say how many workers compute there with --workers N")
        yield here(task, table, progress)
        return
    from dbp.workers.crew import Crew
    from dbp.workers.local_ray import cluster_ray, embedded_ray

    SpanReader(table, task.columns)  # what the table lacks is told before Ray is started
    work = spans(table.row_count, task.span_rows)
    workers = max(1, min(workers, len(work)))
    started = embedded_ray(workers, task.result_bytes) if address is None else cluster_ray(address)
    with started:
        crew = Crew(task, table, workers, warn)
        try:
            yield crew.results(work, progress)
        finally:
            crew.close()
