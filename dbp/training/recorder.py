"""Writes down a run as it happens: metrics.jsonl, status.json and log.txt of its job directory."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dbp.errors import StorageError
from dbp.jobs.clock import utc_now
from dbp.jobs.directory import JobDirectory
from dbp.jobs.metrics import MetricsWriter
from dbp.jobs.status import State, Status, WorkersRange
from dbp.storage.kept_lines import KeptLines
from dbp.training.observers import Observer, Plan, StepMetrics, Summary
from dbp.training.saving import failing_with, persistently
from dbp.training.status_keeper import StatusKeeper

_REST = "the model and the checkpoint of step {step} are safe. See to the storage, then `dbp resume` writes the rest"


class Recorder(Observer):
    """An observer that keeps the job directory's records. Call `close` at the end, `ended_badly` when the run fails.

    While storage does not take them, lines wait in memory and the status stays behind; `warn` hears of it.
    """

    def __init__(self, directory: JobDirectory, attempt: int, warn: Callable[[str], None] = lambda text: None) -> None:
        self._directory = directory
        self._attempt = attempt
        self._warn = warn
        self._metrics = MetricsWriter(directory.metrics_file, self.lines_wait)
        self._log = KeptLines(directory.log_file, self.lines_wait)
        self._keeper: StatusKeeper | None = None  # from the start of training on

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        now = utc_now()
        status = Status(
            job=plan.job_id,
            state="RUNNING",
            step=plan.first_step - 1,
            max_steps=plan.max_steps,
            loss=None,
            message="training",
            attempt=self._attempt,
            heartbeat=now,
            pid=os.getpid(),
            host=socket.gethostname(),
            started=now,
            workers=plan.workers,
            workers_range=WorkersRange.of(plan.job),
        )
        self._keeper = StatusKeeper(self._directory, status, warn=self._trouble)
        self._say(
            f"attempt {self._attempt}: {plan.rows} rows, {plan.features} features, {plan.parameters} parameters, "
            f"{plan.shards} shards, {plan.workers} workers, from step {plan.first_step} to {plan.max_steps}"
        )

    def step(self, metrics: StepMetrics) -> None:
        """See `Observer`."""
        self._metrics.write({**metrics.to_json(), "attempt": self._attempt})
        self._directory.soon(self._directory.metrics_file)
        keeper = self._started()
        keeper.note(replace(keeper.status, step=metrics.step, loss=metrics.loss, workers=metrics.workers))

    def make_safe(self) -> None:
        """Make the metrics so far survive a loss of power: before a checkpoint counts, after which they are not made again."""
        self._metrics.sync()

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        """See `Observer`."""
        self._say(f"checkpoint of step {step}: {path.name} in {seconds:.3f} s")

    def warning(self, text: str) -> None:
        """See `Observer`."""
        self._say(f"warning: {text}")

    def settle(self, step: int) -> None:
        """Make all records but the status safe; the model and the checkpoint of `step` are. StorageFailedError if it cannot be."""
        with failing_with(_REST.format(step=step)):
            persistently(self._sync, self._trouble)

    def _sync(self) -> None:
        self._metrics.sync()
        self._log.sync()

    def finished(self, summary: Summary) -> None:
        """See `Observer`. StorageFailedError if it cannot be written."""
        keeper = self._started()
        told = replace(keeper.status, state=summary.state, message=summary.reason, rule=summary.rule)
        told = replace(told, step=summary.step, loss=summary.loss, model_step=summary.model_step)
        with failing_with(_REST.format(step=summary.step)):
            persistently(lambda: keeper.write(told), self._trouble)
        self._say(
            f"{summary.state}: {summary.reason}; parameters of step {summary.model_step}, SHA-256 {summary.parameters_sha256}"
        )

    def ended_badly(self, state: State, message: str) -> None:
        """Note that the run failed or was broken off."""
        self._say(f"{state}: {message}")
        keeper = self._started()
        keeper.write(replace(keeper.status, state=state, message=message))

    def close(self) -> None:
        """Close the files. What could not be written by now is lost; a run that ended well has written all that matters."""
        if self._keeper is not None:
            self._keeper.close()
        with suppress(StorageError):
            self._metrics.sync()
        with suppress(StorageError):
            self._log.sync()
        self._metrics.close()
        self._log.close()

    def _started(self) -> StatusKeeper:
        if self._keeper is None:
            raise RuntimeError("training has not started")
        return self._keeper

    def lines_wait(self, error: StorageError) -> None:
        """Tell of lines of a record that cannot be written now."""
        self._trouble(f"{error}; training goes on, and the lines are kept in memory until they can be written")

    def _trouble(self, text: str) -> None:
        self._warn(text)
        self.warning(text)

    def _say(self, text: str) -> None:
        self._log.append(f"{utc_now()} {text}".replace("\n", " | "))
        self._directory.soon(self._directory.log_file)
