"""Jobs that learn counts or rates with the Poisson loss, from table to model and its exports."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from exported_models import import_file, run_onnx
from sklearn.metrics import mean_poisson_deviance

import dbp
from dbp.data.encoding import Encoding
from dbp.errors import DataError, JobFileError, ModelFileError
from dbp.models.evaluation import NumberEvaluation


def columns(rows: int = 400) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(5)
    x = draw.standard_normal((rows, 2))
    calls, visits = draw.poisson(np.exp(1 + 0.8 * x[:, 0] - 0.5 * x[:, 1])), draw.gamma(2, np.exp(0.5 * x[:, 1]))
    return {"a": x[:, 0], "b": x[:, 1], "calls": calls, "visits": visits, "w": draw.integers(0, 3, rows)}


def job(folder, *overrides: str, table=None) -> dbp.Job:
    """The job for a table, which is written."""
    pq.write_table(pa.table(columns() if table is None else table), folder / "t.parquet")
    text = f"""
name: counts
data: {{train: {folder / "t.parquet"}, target: [calls, visits], features: [a, b]}}
task: regression
loss: poisson
network: {{hidden: [4]}}
optimizer: {{name: lbfgs}}
training: {{max_steps: 60, precision: float64}}
storage: {folder / "runs"}
workers: 0
"""
    return dbp.Job.from_text(text, overrides=overrides)


def test_rates_are_learnt_and_the_deviance_is_scikit_learns(tmp_path):
    made = job(tmp_path, "data.weight=w")
    model = dbp.train(made).model
    assert not made.standardizes_target
    table = columns()
    known, found = np.column_stack([table["calls"], table["visits"]]), model.predict(tmp_path / "t.parquet")
    assert (found > 0).all()
    assert np.corrcoef(found[:, 0], np.exp(1 + 0.8 * table["a"] - 0.5 * table["b"]))[0, 1] > 0.97
    for weight, weights in ((None, None), ("w", table["w"])):
        told = model.evaluate(tmp_path / "t.parquet", weight)
        assert isinstance(told, NumberEvaluation)
        deviances = [mean_poisson_deviance(known[:, k], found[:, k], sample_weight=weights) for k in range(2)]
        assert told["poisson_deviance"] == pytest.approx(np.mean(deviances), rel=1e-12)
        errors = np.square(found - known)
        assert told["rms"] == pytest.approx(np.sqrt(np.average(errors.mean(axis=1), weights=weights)), rel=1e-12)
        np.testing.assert_allclose(told.points.predicted, found, rtol=1e-12)
    dbp.predict(model, tmp_path / "t.parquet", tmp_path / "out.csv")
    np.testing.assert_allclose(pa.csv.read_csv(tmp_path / "out.csv")["prediction_calls"], found[:, 0], rtol=1e-12)


@pytest.mark.usefixtures("local_ray")
def test_any_number_of_workers_makes_the_same_bits(tmp_path):
    made = job(tmp_path, "training.precision=float32", table=columns(3000))
    shas = {dbp.train(made, workers=workers).model.parameters_sha256 for workers in (0, 2)}
    assert len(shas) == 1


def test_exports_say_what_the_model_says(tmp_path):
    model = dbp.train(job(tmp_path)).model
    rows = np.column_stack([columns()["a"], columns()["b"]])
    wanted = model.predict(rows)
    (file,) = model.export(tmp_path / "m.onnx", "onnx")
    np.testing.assert_allclose(run_onnx(file, {"rows": rows})["prediction"], wanted, rtol=1e-11)
    (file,) = model.export(tmp_path / "m.py", "numpy")
    np.testing.assert_allclose(import_file(file).predict({"a": rows[:, 0], "b": rows[:, 1]}), wanted, rtol=1e-11)
    model.save(tmp_path / "m.safetensors")
    loaded = dbp.load_model(tmp_path / "m.safetensors")
    assert loaded.encoding == model.encoding
    np.testing.assert_array_equal(loaded.predict(rows), wanted)


def test_a_count_below_0_is_refused_by_its_row(tmp_path):
    table = columns()
    table["visits"][16] = -0.5
    with pytest.raises(DataError, match=r"column 'visits', row 17 .*: -0.5; expected a finite number of at least 0"):
        dbp.train(job(tmp_path, table=table))
    model = dbp.train(job(tmp_path)).model
    with pytest.raises(DataError, match=r"column 'visits', row 17 .*: -0.5; expected a finite number of at least 0"):
        model.evaluate(pa.table(table))


def test_what_does_not_go_with_counts_is_refused_by_name(tmp_path):
    refused = {
        "data.standardize_target=true": "data.standardize_target: counts cannot be standardised; expected false with loss",
        "network.output_activation=sigmoid": "cannot be combined with poisson, whose exponential function is part",
        "optimizer.name=levenberg_marquardt": "poisson cannot be used with levenberg_marquardt",
        "task=multilabel": "poisson is not of several labels",
    }
    for override, words in refused.items():
        with pytest.raises(JobFileError, match=words):
            job(tmp_path, override)
    with pytest.raises(JobFileError, match="poisson measures quantities; expected cross_entropy"):
        job(tmp_path, "task=classification", "data.target=calls")


def test_a_model_of_counts_starts_no_job_of_numbers(tmp_path):
    dbp.train(job(tmp_path)).model.save(tmp_path / "start.safetensors")
    start = f"network.start_from={tmp_path / 'start.safetensors'}"
    assert dbp.train(job(tmp_path, start)).model.loss == "poisson"
    with pytest.raises(JobFileError, match='loss: "squared_error" in the job, "poisson" in the model'):
        dbp.train(job(tmp_path, start, "loss=squared_error", "data.standardize_target=false"))


def test_what_is_no_model_of_counts_is_refused(tmp_path):
    network = dbp.Network((1, 1), ("identity",))
    encoding = Encoding(("x",), (0.0,), (1.0,), ("y",), "regression", (), (0.0,), (1.0,))
    dbp.Model(network, np.zeros(2), encoding, "poisson").save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match="the loss poisson for a model whose targets are no counts"):
        dbp.load_model(tmp_path / "m.safetensors")
    for changes in ({"counts": True, "target_scale": [2.0]}, {"counts": 1}, {"counts": True, "task": "classification"}):
        with pytest.raises(ValueError, match="does not fit together"):
            Encoding.from_json(encoding.to_json() | changes)
