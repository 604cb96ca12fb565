"""Predicting and evaluating a table, in this process or by Ray workers; the same bytes and numbers for any number of them.

Workers are told what was learnt by opening the table, read their spans themselves and send back what is to be written or added.
Spans are handed out in order, and no worker runs further ahead of the first one that is missing than WINDOW spans for each worker:
that bounds the memory. A worker that dies is replaced, and its spans are computed again.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from dbp.data.many_files import Learnt
from dbp.data.open_table import open_table
from dbp.errors import DataError, DbpError, InputError, WorkersLostError
from dbp.models.evaluating import EvaluationTask, Evaluator
from dbp.models.evaluation import Evaluation
from dbp.models.prediction import Predictions, prediction_file, write_predictions
from dbp.models.spans import Progress, Span, SpanReader, Task, here, spans
from dbp.storage.uris import is_remote

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

    from dbp.data.table import Table
    from dbp.models.model import Model

Warn = Callable[[str], None]
T = TypeVar("T")

WINDOW = 3  # spans for each worker: one that it computes, one that waits for it, one that waits to be written
QUEUED = 2  # of them with the worker
START_TIMEOUT_S = 120.0


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


class SpanWorker:
    """The Ray actor: opens the table when first asked, and answers one call at a time."""

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


@dataclass
class _Worker:
    actor: ActorHandle
    since: float  # monotonic seconds, of its start
    pid: int = 0  # 0: not ready yet
    calls: int = 0  # that it has not answered


@dataclass
class _Work:
    """Which spans are to be handed out, and which came back before those ahead of them."""

    spans: list[Span]
    waiting: list[int] = field(default_factory=list)  # a heap of numbers of spans
    back: dict[int, Any] = field(default_factory=dict)
    first: int = 0  # that is missing

    def __post_init__(self) -> None:
        self.waiting = list(range(len(self.spans)))


class Crew:
    """Ray actors, one CPU each, on the Ray that this process is connected to."""

    def __init__(self, task: Task[Any], table: Table, workers: int, warn: Warn) -> None:
        import ray

        self._ray = ray
        self._warn = warn
        self._count = workers
        self._task = ray.put(task)
        place = table.path if is_remote(table.path) else os.path.abspath(Path(table.path))
        learnt = table.learnt()
        if isinstance(learnt, Learnt):
            learnt = learnt.for_any_folder()
        self._table = (str(place), table.path, table.row_count, learnt)
        self._workers: dict[int, _Worker] = {}
        self._calls: dict[ObjectRef, tuple[int, int | None]] = {}  # worker, span; None: its start
        self._started = 0
        self._lost_in_a_row = 0
        for _ in range(workers):
            self._start()

    def results(self, work: list[Span], progress: Progress | None = None) -> Iterator[Any]:
        """Yield the results of all spans, in order. Raises the first error in the order of the rows."""
        todo = _Work(work)
        while todo.first < len(work):
            if todo.first in todo.back:
                result = todo.back.pop(todo.first)
                if isinstance(result, DbpError):
                    raise result
                yield result
                if progress is not None:
                    progress(work[todo.first][1], work[-1][1])
                todo.first += 1
            else:
                self._hand_out(todo)
                self._wait(todo)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            self._ray.kill(worker.actor)
        self._workers.clear()
        self._calls.clear()

    def pids(self) -> list[int]:
        """Return the process ids of the workers that are ready."""
        return [worker.pid for worker in self._workers.values() if worker.pid]

    def _start(self) -> None:
        actor_class = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(SpanWorker)
        actor = actor_class.remote(self._task, *self._table)
        self._started += 1
        self._workers[self._started] = _Worker(actor, time.monotonic())
        self._calls[actor.ready.remote()] = (self._started, None)

    def _hand_out(self, todo: _Work) -> None:
        """Give spans to workers, to each one before any gets a second, within the window."""
        end = todo.first + WINDOW * self._count
        for queued in range(1, QUEUED + 1):
            for number, worker in self._workers.items():
                if worker.pid and worker.calls < queued and todo.waiting and todo.waiting[0] < end:
                    span = heapq.heappop(todo.waiting)
                    self._calls[worker.actor.compute.remote(*todo.spans[span])] = (number, span)
                    worker.calls += 1

    def _wait(self, todo: _Work) -> None:
        """Sleep until something has come back, or for a second, and take what has."""
        refs = list(self._calls)
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=1.0)
        if ready:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        for ref in ready:
            if ref in self._calls:
                self._take(ref, *self._calls.pop(ref), todo)
        if not self.pids() and all(time.monotonic() - each.since > START_TIMEOUT_S for each in self._workers.values()):
            free, total = (
                source().get("CPU", 0) for source in (self._ray.available_resources, self._ray.cluster_resources)
            )
            raise WorkersLostError(
                f"no worker started within {START_TIMEOUT_S:.0f} s: each needs one CPU, and the cluster has {free:g} of "
                f"{total:g} free. Wait until others are done, or leave --address out"
            )

    def _take(self, ref: ObjectRef, number: int, span: int | None, todo: _Work) -> None:
        from ray.exceptions import RayError, RayTaskError

        from dbp.workers.causes import cause_of

        try:
            answer = self._ray.get(ref)
        except RayTaskError as error:
            if not isinstance(error.cause, MemoryError):
                raise  # a bug
            lost: str | None = "it got no more memory (MemoryError)"
        except RayError as error:
            lost = cause_of(error, "its process died").reason
        else:
            lost = None
        if lost is not None:
            if span is not None:
                heapq.heappush(todo.waiting, span)
            self._lose(number, lost)
            return
        worker = self._workers[number]
        if span is None:
            worker.pid = self._checked(*answer)
        else:
            self._lost_in_a_row = 0
            worker.calls -= 1
            todo.back[span] = answer

    def _checked(self, pid: int, there: Any) -> int:
        from dbp.workers.nodes import NodeReport, differences, own_versions

        here = NodeReport(str(self._ray.util.get_node_ip_address()), own_versions())
        problems = differences([here, there])
        if problems:
            raise InputError("\n".join(["the cluster computes other bits than this machine:", *map(str, problems)]))
        return pid

    def _lose(self, number: int, reason: str) -> None:
        worker = self._workers.pop(number, None)
        if worker is None:  # known: another of its calls failed before
            return
        self._ray.kill(worker.actor)
        self._lost_in_a_row += 1
        who = f"worker {number}" + (f" (pid {worker.pid})" if worker.pid else "")
        if self._lost_in_a_row > 2 * self._count + 1:
            raise WorkersLostError(
                f"{who} was lost: {reason}; {self._lost_in_a_row} workers died one after the other, with no rows done between. "
                "Use fewer workers, or --workers 0 to compute in this process"
            )
        self._warn(f"{who} was lost: {reason}; another one computes its rows again")
        self._start()
