"""Writes down a run as it happens: metrics.jsonl, status.json and log.txt of its job directory."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

from dbp.jobs.clock import utc_now
from dbp.jobs.directory import JobDirectory
from dbp.jobs.metrics import MetricsWriter
from dbp.jobs.status import State, Status
from dbp.storage.line_file import LineFile
from dbp.training.observers import Observer, Plan, StepMetrics, Summary
from dbp.training.status_keeper import StatusKeeper


class Recorder(Observer):
    """An observer that keeps the job directory's records. Call `close` at the end, `failed` when the run fails."""

    def __init__(self, directory: JobDirectory, attempt: int) -> None:
        self._directory = directory
        self._attempt = attempt
        self._metrics = MetricsWriter(directory.metrics_file)
        self._log = LineFile(directory.log_file)
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
        )
        self._keeper = StatusKeeper(self._directory, status)
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

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        """See `Observer`."""
        self._say(f"checkpoint of step {step}: {path.name} in {seconds:.3f} s")

    def warning(self, text: str) -> None:
        """See `Observer`."""
        self._say(f"warning: {text}")

    def finished(self, summary: Summary) -> None:
        """See `Observer`."""
        keeper = self._started()
        told = replace(keeper.status, state=summary.state, message=summary.reason, rule=summary.rule)
        keeper.write(replace(told, step=summary.step, loss=summary.loss, model_step=summary.model_step))
        self._say(
            f"{summary.state}: {summary.reason}; parameters of step {summary.model_step}, SHA-256 {summary.parameters_sha256}"
        )

    def ended_badly(self, state: State, message: str) -> None:
        """Note that the run failed or was broken off."""
        keeper = self._started()
        keeper.write(replace(keeper.status, state=state, message=message))
        self._say(f"{state}: {message}")

    def close(self) -> None:
        """Close the files."""
        if self._keeper is not None:
            self._keeper.close()
        self._metrics.close()
        self._log.close()

    def _started(self) -> StatusKeeper:
        if self._keeper is None:
            raise RuntimeError("training has not started")
        return self._keeper

    def _say(self, text: str) -> None:
        self._log.append(f"{utc_now()} {text}".replace("\n", " | "))
        self._directory.soon(self._directory.log_file)
