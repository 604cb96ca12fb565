"""A job that names a method and nothing else trains well, whatever the units of its columns."""

from __future__ import annotations

import numpy as np
import pytest

import dbp
from dbp.optimizers.registry import METHODS


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """1,000 rows: five features in units from thousandths to millions, a target of about a million, a smooth curve of them."""
    draw = np.random.default_rng(0)
    hidden = draw.standard_normal((1000, 5))
    target = np.sin(hidden[:, 0]) + hidden[:, 1] * hidden[:, 2] / 2 + np.tanh(hidden[:, 3]) + 0.2 * hidden[:, 4]
    path = tmp_path_factory.mktemp("units") / "units.npz"
    scales = np.array([1e-3, 1.0, 50.0, 1e4, 1e6])
    np.savez(path, x=hidden * scales + 3 * scales, y=5e6 + 1e6 * target)
    return path


def trained(table, storage, optimizer, **training):
    job = dbp.Job.from_values(
        {
            "name": "units",
            "data": {"train": str(table), "validation": 0.2, "target": "y"},
            "task": "regression",
            "network": {"hidden": [16]},
            "optimizer": optimizer,
            "training": training,
            "storage": str(storage),
        }
    )
    return dbp.train(job, workers=0).summary


# The error on the held-out rows after the default 200 steps, as a share of the target's standard deviation, at most.
LIMITS = {
    "levenberg_marquardt": 0.05,
    "gradient_descent": 0.5,
    "rprop": 0.1,
    "adam": 0.15,
    "adamw": 0.15,
    "conjugate_gradient": 0.04,
    "scaled_conjugate_gradient": 0.04,
    "lbfgs": 0.04,
}


@pytest.mark.parametrize("name", METHODS)
def test_a_name_is_all_a_job_needs_to_say(table, tmp_path, name):
    """Only gradient descent needs a learning rate. RMS in the target's own unit; its standard deviation is about 1.2 million."""
    optimizer = {"name": name} | ({"learning_rate": 0.1} if name == "gradient_descent" else {})
    summary = trained(table, tmp_path, optimizer)
    assert summary.validation["rms"] < LIMITS[name] * 1.2e6


@pytest.mark.parametrize("name", [name for name, options in METHODS.items() if options.takes_batches])
def test_methods_for_batches_train_on_batches(table, tmp_path, name):
    optimizer = {"name": name} | ({"learning_rate": 0.1, "momentum": 0.9} if name == "gradient_descent" else {})
    optimizer["schedule"] = {"name": "cosine", "steps": 500}
    summary = trained(table, tmp_path, optimizer, batch=64, max_steps=500)
    assert summary.validation["rms"] < 0.2 * 1.2e6
