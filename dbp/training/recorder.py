"""Writes down a run as it happens: metrics.jsonl, status.json and log.txt of its job directory."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from pathlib import Path

from dbp.jobs.clock import utc_now
from dbp.jobs.directory import JobDirectory
from dbp.jobs.metrics import MetricsWriter
from dbp.jobs.status import State, Status, write_status
from dbp.storage.line_file import LineFile
from dbp.training.observers import Observer, Plan, StepMetrics, Summary

HEARTBEAT_S = 1.0


class Recorder(Observer):
    """An observer that keeps the job directory's records. Call `close` at the end, `failed` when the run fails."""

    def __init__(self, directory: JobDirectory, attempt: int) -> None:
        self._directory = directory
        self._attempt = attempt
        self._metrics = MetricsWriter(directory.metrics_file)
        self._log = LineFile(directory.log_file)
        self._last_beat = 0.0

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        now = utc_now()
        self._status = Status(
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
        self._write("RUNNING", "training")
        self._say(
            f"attempt {self._attempt}: {plan.rows} rows, {plan.features} features, {plan.parameters} parameters, "
            f"{plan.shards} shards, {plan.workers} workers, from step {plan.first_step} to {plan.max_steps}"
        )

    def step(self, metrics: StepMetrics) -> None:
        """See `Observer`."""
        self._metrics.write(metrics.to_json())
        self._directory.soon(self._directory.metrics_file)
        self._status = replace(self._status, step=metrics.step, loss=metrics.loss, workers=metrics.workers)
        if time.monotonic() - self._last_beat > HEARTBEAT_S:
            self._write("RUNNING", "training")

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        """See `Observer`."""
        self._say(f"checkpoint of step {step}: {path.name} in {seconds:.3f} s")

    def warning(self, text: str) -> None:
        """See `Observer`."""
        self._say(f"warning: {text}")

    def finished(self, summary: Summary) -> None:
        """See `Observer`."""
        self._status = replace(
            self._status, step=summary.step, loss=summary.loss, rule=summary.rule, model_step=summary.model_step
        )
        self._write(summary.state, summary.reason)
        self._say(
            f"{summary.state}: {summary.reason}; parameters of step {summary.model_step}, SHA-256 {summary.parameters_sha256}"
        )

    def ended_badly(self, state: State, message: str) -> None:
        """Note that the run failed or was broken off."""
        self._write(state, message)
        self._say(f"{state}: {message}")

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()
        self._log.close()

    def _write(self, state: State, message: str) -> None:
        self._last_beat = time.monotonic()
        self._status = replace(self._status, state=state, message=message, heartbeat=utc_now())
        self._directory.hold.check_cheaply()
        write_status(self._directory.status_file, self._status)
        self._directory.soon(self._directory.status_file)

    def _say(self, text: str) -> None:
        self._log.append(f"{utc_now()} {text}".replace("\n", " | "))
        self._directory.soon(self._directory.log_file)
