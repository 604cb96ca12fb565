"""What a run tells the operators of a cluster: gauges and counters through Ray, which every node offers to Prometheus.

Prometheus sees them with Ray's prefix (`ray_dbp_loss`) and labelled with the job. deploy/grafana/dbp.json draws them. Ray passes
them on every ten seconds or so, so a job that ends sooner may leave nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from ray.util.metrics import Counter, Gauge

from dbp.training.observers import Observer, Plan, StepMetrics, Summary

LABEL = "dbp_job"  # not `job`: that is Prometheus' own name for what it scrapes
REPORT_EVERY_S = 1.0

GAUGES = {
    "dbp_step": "Steps done.",
    "dbp_loss": "The objective at the last step: mean or sum over the batch, penalty included.",
    "dbp_validation_loss": "The last validation loss: mean per row.",
    "dbp_rows_per_second": "Rows computed per second of the steps since the last report.",
    "dbp_step_seconds": "Mean seconds of the steps since the last report.",
    "dbp_workers": "Workers alive.",
    "dbp_checkpoint_seconds": "Seconds that the last checkpoint took, until it was safe.",
}
COUNTERS = {
    "dbp_steps_total": "Steps computed; those computed again after a restart count again.",
    "dbp_worker_losses_total": "Workers that died.",
    "dbp_checkpoints_total": "Checkpoints written.",
    "dbp_checkpoint_seconds_total": "Seconds that checkpoints took, beside training.",
}


def telemetry(job_id: str) -> Observer:
    """Return an observer that reports a job's progress. Ray must be connected to a cluster."""
    return Telemetry(job_id)


class Telemetry(Observer):
    """Reports at most once a second, however short the steps are; what ends a run is reported at once."""

    def __init__(self, job_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        tags = {LABEL: job_id}
        self._gauges = {name: Gauge(name, text, (LABEL,)).set_default_tags(tags) for name, text in GAUGES.items()}
        self._counters = {name: Counter(name, text, (LABEL,)).set_default_tags(tags) for name, text in COUNTERS.items()}
        self._clock = clock
        self._reported = -math.inf
        self._last: StepMetrics | None = None
        self._steps, self._rows, self._seconds = 0, 0, 0.0  # not reported yet

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        self._report()
        self._last, self._reported = None, -math.inf
        self._set("dbp_step", plan.first_step - 1)
        self._set("dbp_workers", plan.workers)

    def step(self, metrics: StepMetrics) -> None:
        """See `Observer`."""
        self._last = metrics
        self._steps += 1
        self._rows += metrics.rows
        self._seconds += metrics.seconds
        if metrics.validation_loss is not None:
            self._set("dbp_validation_loss", metrics.validation_loss)
        if self._clock() - self._reported >= REPORT_EVERY_S:
            self._report()

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        """See `Observer`."""
        self._set("dbp_checkpoint_seconds", seconds)
        self._count("dbp_checkpoints_total", 1)
        self._count("dbp_checkpoint_seconds_total", seconds)

    def worker_lost(self, text: str) -> None:
        """See `Observer`."""
        self._count("dbp_worker_losses_total", 1)

    def finished(self, summary: Summary) -> None:
        """See `Observer`."""
        self._report()
        self._set("dbp_workers", 0)

    def _report(self) -> None:
        if self._last is None or not self._steps:
            return
        self._set("dbp_step", self._last.step)
        self._set("dbp_loss", self._last.loss)
        self._set("dbp_workers", self._last.workers)
        self._set("dbp_step_seconds", self._seconds / self._steps)
        if self._seconds > 0:
            self._set("dbp_rows_per_second", self._rows / self._seconds)
        self._count("dbp_steps_total", self._steps)
        self._steps, self._rows, self._seconds = 0, 0, 0.0
        self._reported = self._clock()

    def _set(self, name: str, value: float) -> None:
        self._gauges[name].set(float(value))

    def _count(self, name: str, value: float) -> None:
        if value > 0:  # Ray refuses to count nothing
            self._counters[name].inc(float(value))
