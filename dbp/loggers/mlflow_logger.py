"""MLflow: a run there for each run here, with the job's values, its metrics and its model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dbp.errors import InputError
from dbp.jobs.directory import MODEL_FILE, JobDirectory
from dbp.jobs.sweep_table import MemberResult
from dbp.loggers.numbers import missing_extra, numbers_of, run_number, values_of
from dbp.storage.uris import below
from dbp.training.callbacks import Callback
from dbp.training.observers import Plan, StepMetrics, Summary

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

_BATCH = 500  # metrics at a time: MLflow takes 1,000
_PATIENCE_S = 5.0  # between two batches
_LONGEST = 6000  # characters of a parameter, of MLflow's
_MOST_PARAMETERS = 100  # at a time


class MlflowLogger(Callback):
    """Logs to an MLflow server or store: the job's values as parameters, metrics per step, job file and model as artefacts.

    `tracking_uri` is a server (http://...), a folder, or whatever MLflow takes; None: MLflow's own setting. A resumed job goes on
    in its run there, and steps that the run has already are not logged again. InputError where MLflow is not installed
    (``pip install 'dbp[mlflow]'``), or does not take the URI.
    """

    def __init__(self, experiment: str = "dbp", tracking_uri: str | None = None) -> None:
        try:
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise missing_extra("MLflow", "mlflow-skinny", "mlflow") from error
        where = tracking_uri or "MLflow"
        try:
            self._client: MlflowClient = MlflowClient(tracking_uri)
            known = self._client.get_experiment_by_name(experiment)
            self._experiment = self._client.create_experiment(experiment) if known is None else known.experiment_id
        except (MlflowException, ImportError, OSError) as error:
            raise InputError(f"{where}: MLflow says: {' '.join(str(error).split())}") from error
        self._run: str | None = None
        self._logged = 0  # the last step that the run has
        self._waiting: list[Metric] = []
        self._sent = 0.0
        self._place = ""

    def started(self, plan: Plan) -> None:
        """Begin a run there, or go on with the one of an earlier attempt."""
        self._end("KILLED")
        tags = {"dbp.job": plan.job_id, "dbp.run": str(run_number(plan)), "dbp.directory": str(plan.directory)}
        self._place = str(plan.directory)
        wanted = " and ".join(f"tags.`{key}` = '{tags[key]}'" for key in ("dbp.job", "dbp.run"))
        known = self._client.search_runs([self._experiment], filter_string=wanted, max_results=1)
        if known and plan.first_step > 1:
            self._run = known[0].info.run_id
            self._client.update_run(self._run, "RUNNING")
            steps = self._client.get_metric_history(self._run, "loss")
            self._logged = max((metric.step for metric in steps), default=0)
            return
        name = plan.job_id if plan.run is None else f"{plan.job_id} {plan.run.number:03}"
        self._run = self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id
        self._logged = 0
        if plan.job is not None:
            self._log_job(self._run, plan)

    def _log_job(self, run: str, plan: Plan) -> None:
        from mlflow.entities import Param

        assert plan.job is not None
        short = [Param(key, value) for key, value in values_of(plan.job).items() if len(value) <= _LONGEST]
        for start in range(0, len(short), _MOST_PARAMETERS):
            self._client.log_batch(run, params=short[start : start + _MOST_PARAMETERS])
        self._client.log_text(run, plan.job.to_yaml(), "job.yaml")  # has all of them, the long ones too

    def step(self, metrics: StepMetrics) -> None:
        """Log the step's numbers, some steps at a time."""
        from mlflow.entities import Metric

        if self._run is None or metrics.step <= self._logged:
            return
        now = int(time.time() * 1000)
        self._waiting += [Metric(name, value, now, metrics.step) for name, value in numbers_of(metrics).items()]
        if len(self._waiting) >= _BATCH or time.monotonic() - self._sent >= _PATIENCE_S:
            self._send()

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        """Send what waits: a run that goes on from this checkpoint does not make these steps again."""
        self._send()

    def member_finished(self, result: MemberResult) -> None:
        """End the run of one of several runs, with its model."""
        ended: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED" if result.state == "SUCCEEDED" else "KILLED"
        if result.state == "FAILED":
            ended = "FAILED"
        if result.parameters_sha256 is not None:
            self._log_result(str(below(self._place, result.directory)), result.parameters_sha256)
        self._end(ended)

    def finished(self, summary: Summary) -> None:
        """End the run, with its model."""
        if self._run is not None:
            self._log_result(str(summary.directory), summary.parameters_sha256)
        self._end("FINISHED" if summary.state == "SUCCEEDED" else "KILLED")

    def failed(self, error: BaseException) -> None:
        """End the run as failed; as killed where it was interrupted."""
        self._end("FAILED" if isinstance(error, Exception) else "KILLED")

    def _log_result(self, place: str, sha256: str) -> None:
        if self._run is None:
            return
        self._send()
        self._client.set_tag(self._run, "dbp.parameters_sha256", sha256)
        directory = JobDirectory.open(place)
        file = directory.path / MODEL_FILE
        directory.fetch(file)
        self._client.log_artifact(self._run, str(file))

    def _send(self) -> None:
        if self._run is not None:
            for start in range(0, len(self._waiting), _BATCH):
                self._client.log_batch(self._run, metrics=self._waiting[start : start + _BATCH])
        self._waiting.clear()
        self._sent = time.monotonic()

    def _end(self, status: str) -> None:
        if self._run is not None:
            self._send()
            self._client.set_terminated(self._run, status)
            self._run = None
