"""What loggers write is read back with the tools it is for."""

from __future__ import annotations

import builtins
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from small_jobs import small_job

import dbp
from dbp.loggers import CsvLogger, MlflowLogger, TensorBoardLogger, open_logger
from dbp.training.callbacks import Callback
from dbp.training.observers import StepMetrics
from dbp.training.stopping import StopRequest


class StopAt(Callback):
    """Asks for a stop after a step, and forgets the checkpoint of it: as a killed process would."""

    def __init__(self, step: int, stop: StopRequest) -> None:
        self.last, self.stop = step, stop

    def step(self, metrics: StepMetrics) -> None:
        if metrics.step == self.last:
            self.stop.set()


def interrupted(folder: Path, logger: Callback) -> Path:
    """Train to step 5, and lose the last checkpoint: what is left is that of step 3."""
    stop = StopRequest()
    job = small_job(folder, "training.max_steps=8", "checkpoint.every=3")
    result = dbp.train(job, job_id="job-1", callbacks=[logger, StopAt(5, stop)], stop=stop)
    directory = Path(result.directory)
    (directory / "checkpoints" / "step-00000005.safetensors").unlink()
    return directory


def recorded(directory: Path) -> list[dict[str, Any]]:
    """The last line of each step in metrics.jsonl."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return list({line["step"]: line for line in lines}.values())


def test_csv_has_each_step_once(tmp_path: Path) -> None:
    """With the very numbers of metrics.jsonl, through an interruption and beside another job."""
    file = tmp_path / "metrics.csv"
    directory = interrupted(tmp_path, CsvLogger(file))
    with file.open("a") as torn:
        torn.write("job-1,1,6,0.2")
    dbp.resume(directory, callbacks=[CsvLogger(file)])
    dbp.train(small_job(tmp_path, "training.max_steps=2"), job_id="job-2", callbacks=[CsvLogger(file)])
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [(row["job"], int(row["step"])) for row in rows] == [
        *(("job-1", step) for step in range(1, 9)),
        ("job-2", 1),
        ("job-2", 2),
    ]
    for row, line in zip(rows[:8], recorded(directory), strict=True):
        assert float(row["loss"]) == line["loss"]
        assert (row["validation_loss"] == "") == (line["validation_loss"] is None)


def test_csv_of_several_runs(tmp_path: Path) -> None:
    """One file; the run is a column."""
    job = small_job(tmp_path, "training.max_steps=2", "network.hidden=[2]", "training.restarts=2")
    dbp.train(job, callbacks=[CsvLogger(tmp_path / "m.csv")])
    rows = list(csv.DictReader((tmp_path / "m.csv").read_text().splitlines()))
    assert [(row["run"], row["step"]) for row in rows] == [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")]


def test_csv_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    """Before the job begins; the file stays as it was."""
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(dbp.InputError, match="no file of this logger"):
        CsvLogger(tmp_path / "table.csv")
    with pytest.raises(dbp.InputError, match="there is no folder"):
        CsvLogger(tmp_path / "none" / "m.csv")
    assert (tmp_path / "table.csv").read_text() == "a,b\n1,2\n"


def test_tensorboard_reads_the_events(tmp_path: Path) -> None:
    """Its own reader; steps that were computed again are there once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    directory = interrupted(tmp_path, TensorBoardLogger(tmp_path / "events"))
    dbp.resume(directory, callbacks=[TensorBoardLogger(tmp_path / "events")])
    events = EventAccumulator(str(tmp_path / "events" / "job-1"))
    events.Reload()
    losses = events.Scalars("loss")
    assert [event.step for event in losses] == list(range(1, 9))
    assert [event.value for event in losses] == pytest.approx([line["loss"] for line in recorded(directory)], rel=1e-6)
    assert [event.step for event in events.Scalars("validation_loss")] == [3, 6, 8]
    assert "job/text_summary" in events.Tags()["tensors"]


def test_tensorboard_folders_of_several_runs(tmp_path: Path) -> None:
    """One below the job's for each."""
    job = small_job(tmp_path, "training.max_steps=1", "network.hidden=[2]", "training.restarts=2")
    dbp.train(job, job_id="s", callbacks=[TensorBoardLogger(tmp_path / "events")])
    assert sorted(path.name for path in (tmp_path / "events" / "s").iterdir()) == ["run-001", "run-002"]


@pytest.fixture
def mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder as MLflow's store."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return (tmp_path / "mlruns").as_uri()


def test_mlflow_has_values_metrics_and_model(tmp_path: Path, mlflow_store: str) -> None:
    """One run there, through an interruption; the model file is the same, byte for byte."""
    from mlflow.tracking import MlflowClient

    directory = interrupted(tmp_path, MlflowLogger("flowers", mlflow_store))
    client = MlflowClient(mlflow_store)
    experiment = client.get_experiment_by_name("flowers").experiment_id
    assert [run.info.status for run in client.search_runs([experiment])] == ["KILLED"]
    done = dbp.resume(directory, callbacks=[MlflowLogger("flowers", mlflow_store)])
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert run.data.tags["dbp.parameters_sha256"] == done.summary.parameters_sha256
    assert (run.data.params["optimizer.learning_rate"], run.data.params["network.hidden"]) == ("0.2", "[24]")
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [
        (line["step"], line["loss"]) for line in recorded(directory)
    ]
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert names == {"job.yaml", "model.safetensors"}
    copy = client.download_artifacts(run.info.run_id, "model.safetensors", str(tmp_path))
    assert Path(copy).read_bytes() == (directory / "model.safetensors").read_bytes()


def test_mlflow_runs_of_several_and_failed_ones(tmp_path: Path, mlflow_store: str) -> None:
    """A run there for each run here; one whose loss is no number any more is FAILED."""
    from mlflow.tracking import MlflowClient

    sweep = "sweep={optimizer.learning_rate: [0.1, 1.0e300]}"
    job = small_job(tmp_path, "training.max_steps=4", "network.hidden=[2]", "data.standardize=false", sweep)
    dbp.train(job, job_id="s", callbacks=[MlflowLogger("e", mlflow_store)])
    client = MlflowClient(mlflow_store)
    runs = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert {run.data.tags["dbp.run"]: run.info.status for run in runs} == {"1": "FINISHED", "2": "FAILED"}


def test_mlflow_that_takes_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What MLflow itself says of it, before the job begins."""
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(dbp.InputError, match="MLFLOW_ALLOW_FILE_STORE"):
        MlflowLogger("e", (tmp_path / "mlruns").as_uri())


@pytest.mark.parametrize(
    ("spelt", "package", "extra"), [("tensorboard:x", "tensorboardX", "tensorboard"), ("mlflow:x", "mlflow", "mlflow")]
)
def test_a_missing_package(monkeypatch: pytest.MonkeyPatch, spelt: str, package: str, extra: str) -> None:
    """One line with the command that helps."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(dbp.InputError, match=rf"pip install 'dbp\[{extra}\]'") as caught:
        open_logger(spelt)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "csv", "csv:", "x:y", "wandb:project"])
def test_what_is_no_logger(text: str) -> None:
    """With all that there are."""
    with pytest.raises(dbp.InputError, match="expected csv:FILE, tensorboard:FOLDER or mlflow:URI"):
        open_logger(text)
