"""Gradient descent on a bowl whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dbp.optimizers.gradient_descent import GradientDescent, GradientDescentOptions
from dbp.optimizers.protocol import Evaluation

CURVATURE = np.array([1.0, 3.0, 10.0])


def bowl(point):
    return Evaluation(float(0.5 * (CURVATURE * point**2).sum()), CURVATURE * point)


def drive(optimizer, point, state):
    """One step, as the coordinator drives it."""
    trials = optimizer.step(point, state)
    asked = next(trials)
    while True:
        try:
            asked = trials.send(bowl(asked))
        except StopIteration as done:
            return done.value


def test_one_step_is_the_rule():
    """U1: w - h dE/dw."""
    result = drive(GradientDescent(0.05), np.ones(3), {})
    np.testing.assert_allclose(result.parameters, np.ones(3) - 0.05 * CURVATURE, rtol=1e-15)
    assert result.evaluation.value == 7.0


@given(st.floats(1e-3, 0.199), st.integers(0, 1000))
def test_it_never_increases_a_bowl_where_the_theory_promises_it(rate, seed):
    """h < 2 / largest curvature (here 0.2)."""
    point = np.random.default_rng(seed).standard_normal(3)
    for _ in range(20):
        following = drive(GradientDescent(rate), point, {}).parameters
        assert bowl(following).value <= bowl(point).value
        point = following


def test_momentum_is_the_heavy_ball():
    """v <- m v - h g, w <- w + v, written out for three steps."""
    optimizer, point, velocity = GradientDescent(0.05, 0.9), np.ones(3), np.zeros(3)
    state, found = optimizer.init(point), point
    for _ in range(3):
        velocity = 0.9 * velocity - 0.05 * CURVATURE * point
        point = point + velocity
        result = drive(optimizer, found, state)
        found, state = result.parameters, result.state
    np.testing.assert_allclose(found, point, rtol=1e-14)
    np.testing.assert_allclose(state["velocity"], velocity, rtol=1e-14)


def test_a_step_changes_neither_the_point_nor_the_state_it_is_given():
    """A checkpoint holds references: they must not move under it."""
    optimizer, point = GradientDescent(0.05, 0.9), np.ones(3)
    state = {"velocity": np.full(3, 0.5)}
    drive(optimizer, point, state)
    assert point.tolist() == [1, 1, 1]
    assert state["velocity"].tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_float32_stays_float32(momentum):
    point = np.ones(3, dtype=np.float32)
    optimizer = GradientDescent(0.1, momentum)
    trials = optimizer.step(point, optimizer.init(point))
    next(trials)
    with pytest.raises(StopIteration) as done:
        trials.send(Evaluation(1.0, point))
    assert done.value.value.parameters.dtype == np.float32
    assert all(array.dtype == np.float32 for array in done.value.value.state.values())


@pytest.mark.parametrize("values", [{"learning_rate": 0.0}, {"learning_rate": -1.0}, {"learning_rate": float("nan")}])
def test_a_learning_rate_must_be_positive(values):
    with pytest.raises(ValidationError):
        GradientDescentOptions(name="gradient_descent", **values)
