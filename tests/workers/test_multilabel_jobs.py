"""Jobs of several labels per row, from table to model: the same bits for any number of workers, after a stop, with any method."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dbp
from dbp.data.encoding import Encoding
from dbp.errors import DataError, JobFileError
from dbp.training.stopping import StopRequest

TARGETS = ("rain", "snow", "storm")


def columns(rows: int = 300) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(3)
    x = draw.standard_normal((rows, 3))
    marks = x @ draw.standard_normal((3, 3)) + 0.5 * draw.standard_normal((rows, 3)) > 0
    found = {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2]}
    return found | {"rain": marks[:, 0].astype(int), "snow": marks[:, 1], "storm": np.where(marks[:, 2], "yes", "no")}


def job(folder, *lines: str, optimizer: str = "{name: lbfgs}", precision: str = "float64", **data) -> dbp.Job:
    """The job for a table, which is written."""
    pq.write_table(pa.table(data.pop("table", None) or columns()), folder / "t.parquet")
    extra = "".join(f", {key}: {value}" for key, value in data.items())
    text = f"""
name: labels
data: {{train: {folder / "t.parquet"}, target: [rain, snow, storm], features: [a, b, c]{extra}}}
task: multilabel
network: {{hidden: [5]}}
optimizer: {optimizer}
training: {{max_steps: 15, precision: {precision}}}
storage: {folder / "runs"}
"""
    return dbp.Job.from_text(text + "\n".join(lines))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "name",
    [
        "gradient_descent, learning_rate: 0.5",
        "rprop",
        "adam",
        "adamw",
        "conjugate_gradient",
        "scaled_conjugate_gradient",
        "lbfgs",
    ],
)
def test_every_method_learns_labels(tmp_path, name, precision):
    """The loss begins near 3 log 2, one log 2 for each label, and falls; the model finds what it learnt."""
    made = job(tmp_path, optimizer=f"{{name: {name}}}", precision=precision)
    result = dbp.train(made, workers=0)
    assert result.summary.loss < 2
    found = result.model.evaluate(tmp_path / "t.parquet")
    assert 3 * found["log_loss"] < 2
    assert result.model.encoding.labels == ((0, 1), (False, True), ("no", "yes"))


@pytest.mark.usefixtures("local_ray")
def test_labels_give_the_same_bits_with_workers_and_after_a_stop(tmp_path):
    made = job(tmp_path, "checkpoint: {every: 5}", table=columns(3000), validation=0.2)
    alone = dbp.train(made, workers=0)
    several = dbp.train(made, workers=3)
    assert several.model.parameters_sha256 == alone.model.parameters_sha256
    request = StopRequest()

    class After7(dbp.training.observers.Observer):
        def step(self, metrics):
            if metrics.step == 7:
                request.set()

    stopped = dbp.train(made, workers=0, observer=After7(), stop=request)
    assert stopped.summary.state == "STOPPED"
    assert dbp.resume(stopped.directory, workers=2).model.parameters_sha256 == alone.model.parameters_sha256


def test_weights_are_repetitions(tmp_path):
    times = np.arange(300) % 3
    plain = columns()
    weighted = dbp.train(job(tmp_path, table=plain | {"w": times}, weight="w", standardize="false"), workers=0)
    repeated = {name: np.repeat(column, times) for name, column in plain.items()}
    other = dbp.train(job(tmp_path, table=repeated, standardize="false"), workers=0)
    assert weighted.summary.loss == pytest.approx(other.summary.loss, rel=1e-7)


def test_a_model_of_labels_is_gone_on_with(tmp_path):
    """With its classes; others are refused."""
    first = dbp.train(job(tmp_path), workers=0)
    first.model.save(tmp_path / "start.safetensors")
    values = dbp.Job.from_text(
        job(tmp_path).to_yaml(), overrides=[f"network.start_from={tmp_path / 'start.safetensors'}"]
    )
    assert dbp.train(values, workers=0).summary.loss < first.summary.loss
    changed = columns() | {"storm": np.where(columns()["rain"] == 1, "yes", "perhaps")}
    pq.write_table(pa.table(changed), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"target 'storm' has classes that the model it starts from .*'perhaps'"):
        dbp.train(values, workers=0)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.zeros(300, int), r"target 'rain' has one class only \(0\); expected two"),
        (np.arange(300) % 4, r"target 'rain' has 4 classes \(0, 1, 2, 3\); expected two, such as 0 and 1"),
        (np.arange(300) / 7, "column 'rain', row 2 .*expected a class label"),
        (pa.array([None] + [1] * 299), "column 'rain', row 1 .*missing; expected a class label"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path, column, message):
    with pytest.raises(DataError, match=message):
        dbp.train(job(tmp_path, table=columns() | {"rain": column}), workers=0)


def test_a_label_of_the_validation_table_alone_is_refused(tmp_path):
    later = columns()
    later["storm"] = np.where(later["storm"] == "yes", "yes", "perhaps")
    pq.write_table(pa.table(later), tmp_path / "later.parquet")
    with pytest.raises(DataError, match=r"target 'storm' has classes among the validation rows .*'perhaps'"):
        dbp.train(job(tmp_path, validation=tmp_path / "later.parquet"), workers=0)


def test_class_weights_are_refused_by_name(tmp_path):
    with pytest.raises(JobFileError, match=r"data.class_weights: a row has several labels"):
        job(tmp_path, class_weights="balanced")


def test_predictions_whose_columns_would_share_a_name_are_refused(tmp_path):
    encoding = Encoding(("x",), (0.0,), (1.0,), ("a", "a_0"), "multilabel", labels=(("0_x", "1"), ("x", "y")))
    network = dbp.Network((1, 2), ("identity",))
    model = dbp.Model(network, np.zeros(4), encoding, "binary_cross_entropy")
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="two columns of predictions would both be called 'probability_a_0_x'"):
        dbp.predict(model, tmp_path / "x.parquet", tmp_path / "out.csv")
