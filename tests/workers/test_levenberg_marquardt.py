"""Levenberg-Marquardt as a job: few steps, the same bits from any number of workers, and what it cannot do refused in time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dbp
from dbp.errors import JobFileError


def job(folder, *overrides: str, rows: int = 600) -> dbp.Job:
    path = folder / "wave.parquet"
    if not path.exists():
        x = np.random.default_rng(1).uniform(-3, 3, (rows, 2))
        y = np.sin(x[:, 0]) * x[:, 1]
        pq.write_table(pa.table({"a": x[:, 0], "b": x[:, 1], "y": y, "kind": y > 0, "w": np.arange(rows) % 3}), path)
    text = f"""
name: wave
data: {{train: {path}, target: y, features: [a, b]}}
task: regression
network: {{hidden: [12]}}
optimizer: {{name: levenberg_marquardt}}
training: {{max_steps: 40, precision: float64}}
storage: {folder / "runs"}
"""
    return dbp.Job.from_text(text, overrides=overrides)


def test_it_needs_few_steps_where_others_need_many(tmp_path):
    """sin(a) b with 12 units: after 40 steps an error that L-BFGS has not reached after 400."""
    quick = dbp.train(job(tmp_path), workers=0).summary
    slow = dbp.train(job(tmp_path, "optimizer={name: lbfgs}", "training.max_steps=400"), workers=0).summary
    assert quick.loss < slow.loss
    assert quick.rms < 0.03


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_same_bits_with_workers(tmp_path, precision):
    """Matrices of parameters x parameters travel; rows are weighted, and a penalty is added."""
    overrides = (
        f"training.precision={precision}",
        "data.weight=w",
        "training.l2_penalty=0.001",
        "training.max_steps=5",
    )
    found = {dbp.train(job(tmp_path, *overrides), workers=count).model.parameters_sha256 for count in (0, 3)}
    assert len(found) == 1


def test_it_cannot_improve_at_the_minimum_and_says_so(tmp_path):
    result = dbp.train(job(tmp_path, "network.hidden=[]", "training.max_steps=50"), workers=0)
    assert (result.summary.state, result.summary.rule) == ("SUCCEEDED", "optimizer")
    assert result.summary.step < 10


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("training.batch=100",), "training.batch: 100 rows per step cannot be used with levenberg_marquardt"),
        (("loss=huber",), "loss: huber cannot be used with levenberg_marquardt, which needs a sum of squares"),
        (("task=classification", "data.target=kind"), "loss: cross_entropy cannot be used with levenberg_marquardt"),
    ],
)
def test_jobs_it_cannot_do_are_refused(tmp_path, overrides, words):
    with pytest.raises(JobFileError, match=words):
        job(tmp_path, *overrides)


def test_a_network_too_large_for_it_is_refused_before_anything_is_written(tmp_path):
    """P x P numbers are summed: the bound is in the message, and another method."""
    made = job(tmp_path, "network.hidden=[1000, 3]")
    with pytest.raises(JobFileError, match=r"6,007 x 6,007 numbers .*expected at most 4,096 parameters .*lbfgs"):
        dbp.train(made, workers=0)
    assert not (tmp_path / "runs").exists()


def test_classes_may_be_learnt_by_squares(tmp_path):
    made = job(tmp_path, "task=classification", "data.target=kind", "loss=squared_error", "data.validation=0.2")
    assert dbp.train(made, workers=0).summary.validation["accuracy"] > 0.95
