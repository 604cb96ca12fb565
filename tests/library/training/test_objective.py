"""The objective: one division at the root, so it is the same for any cut into shards."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sources import workload

from dbp.sums.pool import serial_pool
from dbp.training.objective import Objective

ROWS = 240


def objective(shards: int, reduction="mean", l2=0.0, sizes=(6, 9, 3)) -> Objective:
    load = workload(rows=ROWS, shards=shards, precision="float64", sizes=sizes)
    return Objective(serial_pool(load), load.training.network, reduction, l2, classification=False)


def by_hand(theta, network, reduction, l2):
    """E of the written-out formula, over all rows at once."""
    inputs, targets, _ = workload(rows=ROWS).source.encode("train", 0, ROWS, None, np.float64)
    error = 0.5 * ((network.forward(theta, inputs) - targets) ** 2).sum()
    weights = sum(float((layer.weights**2).sum()) for layer in network.layers(theta))
    return error / (ROWS if reduction == "mean" else 1) + 0.5 * l2 * weights


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_value_and_gradient_are_those_of_the_formula(reduction, l2):
    """The gradient against central differences of the written-out objective, penalty on weights but not on biases."""
    found = objective(8, reduction, l2)
    theta = found.network.initial_parameters(3, "float64")
    evaluated = found.evaluate(theta, 1, None)
    assert evaluated.evaluation.value == pytest.approx(by_hand(theta, found.network, reduction, l2), rel=1e-12)
    draw, step = np.random.default_rng(0), 1e-5
    for _ in range(5):
        way = draw.standard_normal(theta.size)
        ahead, behind = (by_hand(theta + s * step * way, found.network, reduction, l2) for s in (1, -1))
        assert float(evaluated.evaluation.gradient @ way) == pytest.approx((ahead - behind) / (2 * step), rel=1e-6)


@given(st.integers(1, ROWS))
def test_the_mean_does_not_depend_on_the_cut(shards):
    """A mean of block means would: shards differ in size, and their errors do too."""
    theta = objective(1).network.initial_parameters(0, "float64")
    whole = objective(1).evaluate(theta, 1, None).evaluation
    cut = objective(shards).evaluate(theta, 1, None).evaluation
    assert cut.value == pytest.approx(whole.value, rel=1e-12)
    np.testing.assert_allclose(cut.gradient, whole.gradient, rtol=1e-10, atol=1e-13)


def test_the_report_agrees_with_the_evaluation():
    found = objective(8, "sum", 0.1)
    theta = found.network.initial_parameters(0, "float64")
    report, evaluated = found.report("train", theta), found.evaluate(theta, 1, None)
    assert report.objective == evaluated.evaluation.value
    assert report.rms == evaluated.rms
    assert report.accuracy is None


def test_rms_is_the_root_of_the_mean_square_over_rows_and_outputs():
    """E2, in the units of the target."""
    found = objective(4)
    theta = found.network.initial_parameters(0, "float64")
    inputs, targets, _ = workload(rows=ROWS).source.encode("train", 0, ROWS, None, np.float64)
    errors = found.network.forward(theta, inputs) - targets
    assert found.evaluate(theta, 1, None).rms == pytest.approx(math.sqrt((errors**2).mean()), rel=1e-12)
