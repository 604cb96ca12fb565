"""Jobs whose rows do not all count alike, from table to model."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dbp
from dbp.errors import DataError, JobFileError
from dbp.training.stopping import StopRequest


def table(path, rows: int = 120, **columns):
    draw = np.random.default_rng(3)
    x = draw.standard_normal((rows, 2))
    kind = np.where(x[:, 0] + 0.5 * draw.standard_normal(rows) > 1.2, "rare", "common")
    found = {"a": x[:, 0], "b": x[:, 1], "kind": kind, "y": x @ [2.0, -1.0] + 0.1 * draw.standard_normal(rows)}
    pq.write_table(pa.table(found | columns), path)
    return found


def job(path, *lines: str, target="y", task="regression", features="[a, b]", **data) -> dbp.Job:
    extra = "".join(f", {key}: {value}" for key, value in data.items())
    text = f"""
name: weights
data: {{train: {path}, target: {target}, features: {features}, standardize: false{extra}}}
task: {task}
network: {{hidden: [5]}}
optimizer: {{name: gradient_descent, learning_rate: 0.1}}
training: {{max_steps: 20, precision: float64}}
storage: {path.parent / "runs"}
"""
    return dbp.Job.from_text(text + "\n".join(lines))


@pytest.mark.parametrize("loss", ["squared_error", "huber", "absolute_error"])
def test_weights_are_repetitions(tmp_path, loss):
    """A column of 0, 1, 2 and 3 trains to what a table trains to that has each row so many times."""
    times = np.arange(120) % 4
    plain = table(tmp_path / "weighted.parquet", w=times)
    pq.write_table(
        pa.table({name: np.repeat(column, times) for name, column in plain.items()}), tmp_path / "rows.parquet"
    )
    weighted = dbp.train(job(tmp_path / "weighted.parquet", f"loss: {loss}", weight="w"), workers=0)
    repeated = dbp.train(job(tmp_path / "rows.parquet", f"loss: {loss}"), workers=0)
    np.testing.assert_allclose(weighted.model.parameters, repeated.model.parameters, rtol=1e-9, atol=1e-12)
    assert weighted.summary.loss == pytest.approx(repeated.summary.loss, rel=1e-9)
    assert weighted.summary.rms == pytest.approx(repeated.summary.rms, rel=1e-9)


def test_a_weight_is_no_feature_and_no_prediction_needs_it(tmp_path):
    plain = table(tmp_path / "t.parquet", w=np.ones(120))
    result = dbp.train(
        job(tmp_path / "t.parquet", features="null", target="kind", task="classification", weight="w"), workers=0
    )
    assert result.model.encoding.features == ("a", "b", "y")
    assert len(result.model.predict({name: plain[name] for name in ("a", "b", "y")})) == 120


def test_balanced_classes_find_more_of_the_rare_one(tmp_path):
    plain = table(tmp_path / "t.parquet")
    found = {}
    for weights in ("null", "balanced", "{rare: 50}"):
        made = job(tmp_path / "t.parquet", target="kind", task="classification", class_weights=weights)
        found[weights] = (dbp.train(made, workers=0).model.predict(plain) == "rare").sum()
    assert found["null"] < found["balanced"] < found["{rare: 50}"]


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("batch", ["30"])
def test_weights_give_the_same_bits_with_workers_and_after_a_stop(tmp_path, batch):
    """The class weights of a stopped job are in its checkpoint: they are not counted anew."""
    table(tmp_path / "t.parquet", rows=1000, w=np.arange(1000) % 7)
    made = job(tmp_path / "t.parquet", target="kind", task="classification", class_weights="balanced", weight="w")
    made = made.model_copy(
        update={"training": made.training.model_copy(update={"batch": batch if batch == "full" else 30})}
    )
    alone = dbp.train(made, workers=0).model.parameters_sha256
    assert dbp.train(made, workers=2).model.parameters_sha256 == alone
    request = StopRequest()

    class After7(dbp.training.observers.Observer):
        def step(self, metrics):
            if metrics.step == 7:
                request.set()

    stopped = dbp.train(made, workers=0, observer=After7(), stop=request)
    assert stopped.summary.state == "STOPPED"
    assert dbp.resume(stopped.directory, workers=2).model.parameters_sha256 == alone


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (
            np.where(np.arange(120) == 16, -0.5, 1.0),
            r"column 'w', row 17 .*: -0.5; expected a finite number of at least 0",
        ),
        (np.where(np.arange(120) == 16, np.nan, 1.0), r"column 'w', row 17 .*expected a finite number of at least 0"),
        (np.zeros(120), r"data.weight 'w' is 0 in every training row; expected one above 0"),
        (np.full(120, "heavy"), r"column 'w', row 1 .*'heavy'; expected numbers"),
    ],
)
def test_weights_that_are_none(tmp_path, column, words):
    table(tmp_path / "t.parquet", w=column)
    with pytest.raises(DataError, match=words):
        dbp.train(job(tmp_path / "t.parquet", weight="w"), workers=0)
    assert not (tmp_path / "runs").exists()


def test_a_batch_that_weighs_nothing_asks_for_no_step(tmp_path):
    table(tmp_path / "t.parquet", w=np.where(np.arange(120) == 5, 1.0, 0.0))
    made = job(tmp_path / "t.parquet", weight="w")
    made = made.model_copy(update={"training": made.training.model_copy(update={"batch": 10})})
    result = dbp.train(made, workers=0)
    assert sum(step.loss == 0 for step in result.history) > 10
    assert np.isfinite(result.model.parameters).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": "y"}, 'data.weight: column "y" is also the target'),
        ({"weight": "a"}, 'data.weight: column "a" is also a feature'),
        ({"class_weights": "balanced"}, "data.class_weights: a regression has no classes"),
        ({"class_weights": "{rare: heavy}"}, r"data.class_weights.rare: \"heavy\" is not a number"),
        ({"class_weights": "even"}, r"data.class_weights: \"even\" is not known; expected \"balanced\""),
    ],
)
def test_job_files_that_weigh_wrongly(tmp_path, change, words):
    with pytest.raises(JobFileError, match=words):
        job(tmp_path / "t.parquet", **change)


def test_losses_of_quantities_are_refused_for_classes(tmp_path):
    with pytest.raises(JobFileError, match="loss: huber measures quantities; expected cross_entropy"):
        job(tmp_path / "t.parquet", "loss: huber", target="kind", task="classification")


def test_class_weights_of_a_class_that_is_not_there(tmp_path):
    table(tmp_path / "t.parquet")
    made = job(tmp_path / "t.parquet", target="kind", task="classification", class_weights="{rear: 2}")
    with pytest.raises(JobFileError, match=r"'rear' is no class of the target; expected some of: common, rare"):
        dbp.train(made, workers=0)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("weight", "class_weights", "validation"),
    [
        (None, "{rare: 0, common: 0}", "null"),
        (1e-50, "null", "null"),  # 0 in float32
        (1e39, "null", "null"),  # infinite in float32
        ("held out", "null", "0.3"),
    ],
)
def test_weights_that_add_up_to_nothing_or_to_infinity(tmp_path, weight, class_weights, validation):
    """In the job's precision, column and class together, and for each part: a loss of 0 would look like success."""
    column = np.full(120, 1.0 if isinstance(weight, str) or weight is None else weight)
    table(tmp_path / "t.parquet", w=column)
    if weight == "held out":
        table(tmp_path / "v.parquet", w=np.zeros(120))
        validation = str(tmp_path / "v.parquet")
    data = {"weight": "w", "class_weights": class_weights, "validation": validation}
    made = job(tmp_path / "t.parquet", target="kind", task="classification", **data)
    made = made.model_copy(update={"training": made.training.model_copy(update={"precision": "float32"})})
    with pytest.raises(
        JobFileError, match=r"the weights of the (train|validation) rows add up to (0|infinite) in float32"
    ):
        dbp.train(made, workers=0)
    assert not (tmp_path / "runs").exists()


def test_a_batch_that_weighs_nothing_ends_no_training(tmp_path):
    """Its loss and its gradient are 0, but they are no news: rules do not look at them."""
    table(tmp_path / "t.parquet", w=np.where(np.arange(120) % 3 == 0, 0.0, 1.0))
    made = job(tmp_path / "t.parquet", "stopping: {target_loss: 0.0, gradient_tolerance: 1.0e-9}", weight="w")
    made = made.model_copy(update={"training": made.training.model_copy(update={"batch": 1})})
    result = dbp.train(made, workers=0)
    assert any(step.loss == 0 for step in result.history)
    assert (result.summary.rule, result.summary.step) == ("max_steps", 20)
