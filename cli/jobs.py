"""What commands need of a job directory: its model, and whether there is anything left to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dbp.errors import ModelFileError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.view import describe
from dbp.storage.uris import is_uri

if TYPE_CHECKING:
    from dbp.jobs.job import Job
    from dbp.models.model import Model


def open_model(name: str, storage: Path | str) -> Model:
    """Load the model that `name` means: a model file, a job directory or a job id; by path or URI.

    Raises ModelFileError, or JobDirectoryError that suggests near ids.
    """
    from dbp.models.model import load_model

    path = Path(name)
    if path.suffix == ".safetensors" or (not is_uri(name) and path.is_file()):
        return load_model(name)
    directory = JobDirectory.find(name, storage)
    directory.fetch(directory.model_file)
    if not directory.model_file.is_file():
        view = describe(directory)
        raise ModelFileError(
            f"{directory.place_of(directory.model_file)}: no such file; the job is {view.state}: {view.message}"
        )
    return load_model(directory.model_file)


def finished(directory: JobDirectory, wanted: Job) -> dict[str, object] | None:
    """Return the result of a job that has nothing left to do, as `dbp run --json` gave it; None for any other job.

    `wanted` is the job as it is to be resumed: other stopping rules may have it go on, or keep other parameters.
    """
    from dbp.jobs.job import Job
    from dbp.jobs.metrics import read_metrics
    from dbp.models.model import load_model

    view = describe(directory)
    status = view.status
    if wanted.has_members:  # these look for what is left to do themselves
        return None
    directory.fetch(directory.model_file, directory.metrics_file)
    if status is None or view.state != "SUCCEEDED" or not directory.model_file.is_file():
        return None
    # max_steps ends a job whatever other rules did; the other rules end it again however many steps are asked for.
    rule = status.rule or "max_steps"
    if rule == "max_steps" and status.step < wanted.training.max_steps:
        return None
    if wanted.stopping != Job.from_file(directory.job_file).stopping:
        return None
    kept = status.step if status.model_step is None else status.model_step
    steps = read_metrics(directory.metrics_file).steps
    of_model: Mapping[str, object] = next((step for step in reversed(steps) if step["step"] == kept), {})
    prefix = "validation_"
    validation = {
        key.removeprefix(prefix): value
        for key, value in of_model.items()
        if key.startswith(prefix) and value is not None
    }
    return {
        "job": directory.id,
        "directory": directory.place,
        "state": view.state,
        "reason": view.message,
        "rule": rule,
        "steps": status.step,
        "model_step": kept,
        "loss": status.loss,
        "validation": validation or None,
        "model": directory.place_of(directory.model_file),
        "parameters_sha256": load_model(directory.model_file).parameters_sha256,
        "seconds": 0.0,
    }
