"""Rows E1-E3: the error is a sum over samples; its RMS; batch and on-line learning are one rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
from derivation.comparing import as_lists, relative_error
from hypothesis import given
from references import naive
from sources import RandomRows
from strategies import LOSSES, problem, problems

import dbp
from dbp.optimizers.gradient_descent import GradientDescent
from dbp.sums.batches import BatchSampler
from dbp.sums.messages import TrainingWork, Workload
from dbp.sums.pool import serial_pool
from dbp.sums.shards import Shards
from dbp.training.objective import Objective


def test_e1_the_error_by_hand():
    """1/2 ((3-1)^2 + (4-1)^2) + 1/2 ((0-2)^2 + (0-0)^2) = 8.5, outputs being the inputs."""
    identity = dbp.Network((2, 2), ("identity",))
    theta = np.array([1.0, 0, 0, 1, 0, 0])
    found = dbp.gradient_sum(identity, theta, [[3.0, 4.0], [0.0, 0.0]], [[1.0, 1.0], [2.0, 0.0]], "squared_error")
    assert (found.loss, found.weight) == (8.5, 2.0)


@pytest.mark.parametrize("loss", LOSSES)
def test_e1_the_error_is_the_written_out_sum(loss):
    """Over all samples and outputs (the source's first formula forgets the outputs); so too for cross-entropy."""

    @given(problems("tanh", loss))
    def agree(case):
        found = dbp.gradient_sum(case.network, case.theta, case.inputs, case.targets, case.loss)
        expected = naive.total_loss(as_lists(case), case.inputs.tolist(), case.targets.tolist(), loss)
        assert math.isclose(found.loss, expected, rel_tol=1e-12, abs_tol=1e-14)
        assert found.weight == len(case.inputs)

    agree()


def test_e2_the_figure_of_merit_is_the_rms():
    """sqrt of the mean over samples and outputs of (y - t)^2, as a run reports it."""
    load = _workload(rows=53)
    target = Objective(serial_pool(load), load.training.network, "sum", 0.0, classification=False)
    theta = load.training.network.initial_parameters(3, "float64")
    inputs, known, _ = load.source.encode("train", 0, 53, None, np.dtype("float64"))
    outputs = load.training.network.forward(theta, inputs)
    by_hand = math.sqrt(math.fsum(((outputs - known) ** 2).ravel()) / known.size)
    assert math.isclose(target.evaluate(theta, 1, None).rms, by_hand, rel_tol=1e-13)


def _workload(rows: int, shards: int = 4) -> Workload:
    network = dbp.Network((3, 5, 2), ("tanh", "identity"))
    training = TrainingWork(network, "squared_error", "float64", encoding=None)
    return Workload(RandomRows(3, 2, rows), {"train": Shards(rows, shards)}, 0, training)


def _steps(batch_rows: int | None, rows: int, count: int):
    """Parameters after each of `count` steps of gradient descent, and the batches used."""
    load = _workload(rows)
    target = Objective(serial_pool(load), load.training.network, "sum", 0.0, classification=False)
    sampler = BatchSampler(load.shards["train"], batch_rows, 0) if batch_rows else None
    theta, seen = load.training.network.initial_parameters(0, "float64"), []
    for step in range(1, count + 1):
        batch = sampler.batch(step) if sampler else None
        trials = GradientDescent(0.02).step(theta, {})
        asked = next(trials)
        try:
            trials.send(target.evaluate(asked, step, batch).evaluation)
        except StopIteration as done:
            theta = done.value.parameters
        seen.append(theta)
    return load, seen


def test_e3_batch_learning_sums_over_every_sample():
    """`batch: full`: w - h times the sum of all samples' gradients, each made alone."""
    load, (found,) = _steps(None, 11, 1)
    inputs, known, _ = load.source.encode("train", 0, 11, None, np.dtype("float64"))
    network, theta = load.training.network, load.training.network.initial_parameters(0, "float64")
    alone = [
        dbp.gradient_sum(network, theta, inputs[i : i + 1], known[i : i + 1], "squared_error").gradient
        for i in range(11)
    ]
    by_hand = theta - 0.02 * np.array([math.fsum(column) for column in zip(*alone, strict=True)])
    assert relative_error(found, by_hand) < 1e-12


def test_e3_on_line_learning_is_the_same_rule_without_the_sum():
    """`batch: 1`: each step is w - h times one sample's gradient, each sample once an epoch; the order is the sampler's."""
    rows = 7
    load, seen = _steps(1, rows, 2 * rows)
    inputs, known, _ = load.source.encode("train", 0, rows, None, np.dtype("float64"))
    network = load.training.network
    theta, used = network.initial_parameters(0, "float64"), []
    for found in seen:
        candidates = []
        for i in range(rows):
            one = dbp.gradient_sum(network, theta, inputs[i : i + 1], known[i : i + 1], "squared_error")
            candidates.append(relative_error(found, theta - 0.02 * one.gradient))
        used.append(int(np.argmin(candidates)))
        assert min(candidates) < 1e-12
        theta = found
    assert sorted(used[:rows]) == sorted(used[rows:]) == list(range(rows))


def test_e3_a_batch_of_all_rows_is_the_full_batch():
    """B = M: the same sum in another order of rows."""
    _, (full,) = _steps(None, 24, 1)
    _, (drawn,) = _steps(24, 24, 1)
    assert relative_error(drawn, full) < 1e-12


def test_cross_entropy_takes_class_indices_too():
    """Whole numbers are the same as ones and zeros."""
    case = problem((4, 5, 3), ("tanh", "identity"), "cross_entropy", 20, 1)
    one = dbp.gradient_sum(case.network, case.theta, case.inputs, case.targets, "cross_entropy")
    other = dbp.gradient_sum(case.network, case.theta, case.inputs, case.targets.argmax(axis=1), "cross_entropy")
    np.testing.assert_array_equal(one.gradient, other.gradient)
    assert one.loss == other.loss
