"""Starting from a model: what is taken from it, what must match, and that a resumed run needs it no more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_jobs import small_job, write_table

import dbp
from dbp.errors import CheckpointError, DataError, InputError, JobFileError
from dbp.training.observers import Observer
from dbp.training.stopping import StopRequest

LABELS = ("task=classification", "data.target=c")
FEW = "training.max_steps=9"


def start_from(path) -> str:
    return f"network.start_from={json.dumps(str(path))}"


@pytest.fixture
def trained(tmp_path):
    """The model file of the small job after nine steps."""
    directory = dbp.train(small_job(tmp_path, FEW)).directory
    return Path(shutil.copy(directory / "model.safetensors", tmp_path / "start.safetensors"))


def test_the_first_loss_is_that_of_the_model(tmp_path, trained):
    """On the same rows, what the model left off with; and half-way by way of a model is the whole way, but for the momentum."""
    before = dbp.train(small_job(tmp_path, "optimizer.momentum=0", FEW))
    after = dbp.train(
        small_job(tmp_path, "optimizer.momentum=0", FEW, start_from(before.directory / "model.safetensors"))
    )
    assert after.history[0].loss == before.summary.loss
    whole = dbp.train(small_job(tmp_path, "optimizer.momentum=0", "training.max_steps=18"))
    assert after.summary.parameters_sha256 == whole.summary.parameters_sha256


def test_new_rows_are_encoded_as_the_old_ones_were(tmp_path, trained):
    """A table with other means, its features named in another order: the first step's error is what the model makes of it."""
    write_table(tmp_path / "new.csv", seed=1, shift=5.0)
    new = ("data.train=new.csv", "data.validation=null", "data.features=[b, a]", FEW)
    result, old = dbp.train(small_job(tmp_path, *new, start_from(trained))), dbp.load_model(trained)
    assert result.model.encoding == old.encoding
    assert result.history[0].rms == pytest.approx(old.evaluate(tmp_path / "new.csv")["rms"], rel=1e-12)


def test_another_precision_rounds_the_parameters(tmp_path, trained):
    old = dbp.load_model(trained)
    job = small_job(
        tmp_path,
        "training.precision=float32",
        "training.max_steps=1",
        "optimizer.learning_rate=1e-30",
        start_from(trained),
    )
    np.testing.assert_array_equal(dbp.train(job).model.parameters, old.parameters.astype(np.float32))


def test_the_job_as_run_names_the_model_by_its_content(tmp_path, trained):
    """The fingerprint has what the parameters are, not where they were."""
    result = dbp.train(small_job(tmp_path, FEW, start_from(trained)))
    ran = dbp.Job.from_file(result.directory / "job.yaml")
    assert ran.network.start_sha256 == dbp.load_model(trained).parameters_sha256
    moved = small_job(tmp_path, FEW, start_from("elsewhere"), f"network.start_sha256='{ran.network.start_sha256}'")
    other = small_job(tmp_path, FEW, start_from(trained), f"network.start_sha256='{'0' * 64}'")
    assert ran.fingerprint() == moved.fingerprint() != other.fingerprint()
    with pytest.raises(
        JobFileError, match=r"SHA-256 .* network.start_sha256 is 000000000000\.\.\.; expected that model"
    ):
        dbp.train(other)


class StopAfterOne(Observer):
    """Asks for a stop after the first step."""

    def __init__(self) -> None:
        self.request = StopRequest()

    def step(self, metrics):
        self.request.set()


def test_a_resumed_run_needs_the_model_no_more(tmp_path, trained):
    """Also one that was killed before its first checkpoint of training: the start is a checkpoint."""
    job = small_job(tmp_path, FEW, start_from(trained))
    whole, stop = dbp.train(job), StopAfterOne()
    part = dbp.train(job, observer=stop, stop=stop.request)
    trained.unlink()
    first = part.directory / "checkpoints" / "step-00000000.safetensors"
    for path in (part.directory / "checkpoints").iterdir():
        if path != first:
            path.unlink()
    assert dbp.resume(part.directory).summary.parameters_sha256 == whole.summary.parameters_sha256


def test_a_resumed_run_without_any_checkpoint_asks_for_the_model(tmp_path, trained):
    job = small_job(tmp_path, FEW, start_from(trained))
    whole = dbp.train(job)
    shutil.rmtree(whole.directory / "checkpoints")
    kept = trained.rename(tmp_path / "moved.safetensors")
    with pytest.raises(JobFileError, match=r"network.start_from: .*start.safetensors: .*expected a model file"):
        dbp.resume(whole.directory)
    again = dbp.resume(whole.directory, overrides=[start_from(kept)])
    assert again.summary.parameters_sha256 == whole.summary.parameters_sha256


def test_a_checkpoint_of_a_run_from_another_model_is_refused(tmp_path, trained):
    first = dbp.train(small_job(tmp_path, FEW, start_from(trained)))
    cold = dbp.train(small_job(tmp_path, FEW))
    shutil.copytree(cold.directory / "checkpoints", first.directory / "checkpoints", dirs_exist_ok=True)
    with pytest.raises(CheckpointError, match="from another job"):
        dbp.resume(first.directory)


MISMATCHES = {
    "sizes": (("network.hidden=[8]",), "network.hidden: [8] in the job, [24] in the model it starts from (START)"),
    "activation": (("network.activation=relu",), 'network.activation: ["relu"] in the job, ["tanh"] in the model'),
    "output": (
        ("network.output_activation=tanh",),
        'network.output_activation: "tanh" in the job, "identity" in the model',
    ),
    "task": (
        LABELS,
        'task: "classification" in the job, "regression" in the model it starts from (START); expected the same',
    ),
    "features": (
        ("data.features=[a]", "data.target=y"),
        "data.features: only in the model it starts from ('b'); expected the features of START",
    ),
    "target": (("data.target=a", "data.features=[b, y]"), 'data.target: ["a"] in the job, ["y"] in the model'),
    "columns as they are": (
        ("data.standardize=false",),
        "data.standardize: false in the job, but START was trained with",
    ),
    "targets as they are": (
        ("data.standardize_target=false",),
        "data.standardize_target: false in the job, but START was",
    ),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_what_does_not_match_is_refused_before_anything_is_written(tmp_path, trained, case):
    settings, words = MISMATCHES[case]
    with pytest.raises(JobFileError) as caught:
        dbp.train(small_job(tmp_path, *settings, start_from(trained), storage="other"))
    assert words.replace("START", str(trained)) in str(caught.value)
    assert not (tmp_path / "other").exists()


def test_everything_that_does_not_match_is_told_at_once(tmp_path, trained):
    settings = ("network.hidden=[8]", "data.features=[a]", "data.standardize=false")
    with pytest.raises(JobFileError) as caught:
        dbp.train(small_job(tmp_path, *settings, start_from(trained)))
    assert [problem.path for problem in caught.value.problems] == [
        "network.hidden",
        "data.features",
        "data.standardize",
        "data.standardize_target",
    ]


def classes_changed(folder, old: str, new: str) -> dbp.Job:
    """A job that starts from a model of classes x, y, z, on a table in which one class is another."""
    first = dbp.train(small_job(folder, *LABELS, FEW)).directory / "model.safetensors"
    table = folder / "table.csv"
    table.write_text(table.read_text().replace(f",{old},", f",{new},"))
    return small_job(folder, *LABELS, FEW, start_from(first), storage="other")


def test_a_class_that_the_model_does_not_know_is_refused(tmp_path):
    job = classes_changed(tmp_path, "x", "w")
    with pytest.raises(
        DataError, match=r"target 'c' has classes .* does not know: 'w'; expected its classes 'x', 'y', 'z'"
    ):
        dbp.train(job)
    assert not (tmp_path / "other").exists()


def test_a_class_that_no_row_has_keeps_its_output(tmp_path):
    """A later batch of data may lack a rare class; the user is told."""
    told = []

    class Told(Observer):
        def warning(self, text):
            told.append(text)

    model = dbp.train(classes_changed(tmp_path, "x", "y"), observer=Told()).model
    assert (model.encoding.classes, model.network.sizes[-1]) == (("x", "y", "z"), 3)
    assert told == ["no training row has these classes of the model it starts from: 'x'"]


def test_columns_that_the_model_takes_as_they_are_stay_so(tmp_path):
    """The encoding is the model's, whatever the default of data.standardize; the user is told."""
    first = dbp.train(small_job(tmp_path, "data.standardize=false", FEW)).directory / "model.safetensors"
    told = []

    class Told(Observer):
        def warning(self, text):
            told.append(text)

    model = dbp.train(small_job(tmp_path, FEW, start_from(first)), observer=Told()).model
    assert model.encoding.scale == (1.0, 1.0)
    assert told[0] == f"data.standardize is true, but columns are taken as they are, as {first} takes them"


def test_a_loss_of_another_meaning_of_the_outputs_is_refused(tmp_path):
    first = dbp.train(small_job(tmp_path, *LABELS, FEW)).directory / "model.safetensors"
    with pytest.raises(JobFileError, match='loss: "squared_error" in the job, "cross_entropy" in the model'):
        dbp.train(small_job(tmp_path, *LABELS, "loss=squared_error", start_from(first)))


def test_parameters_that_are_no_numbers_are_refused(tmp_path, trained):
    model = dbp.load_model(trained)
    model.parameters[3] = 1e300
    model.save(trained)
    with pytest.raises(InputError, match="has parameters that are no finite numbers of float32"):
        dbp.train(small_job(tmp_path, "training.precision=float32", start_from(trained)))
