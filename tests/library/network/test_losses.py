"""Losses: exact and stable at logits where exp overflows, and error signals that are p - t to the last digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, huber, log_softmax, logsumexp, softmax
from sklearn.metrics import mean_poisson_deviance

from dbp import Network, gradient_sum
from dbp.network.backprop import predicted_classes, predicted_labels
from dbp.network.losses import (
    LOSS_NAMES,
    WITH_OUTPUT_FUNCTION,
    ErrorSums,
    LossName,
    error_signal,
    label_probabilities,
    loss_code,
    probabilities,
    rates,
)

Numbers = NDArray[np.floating]


def _signal(loss: LossName, outputs: Numbers, targets: Numbers) -> tuple[ErrorSums, Numbers]:
    """Return the sums and delta, whose memory is full of NaN before."""
    delta = np.full_like(outputs, np.nan)
    sums = error_signal(loss, outputs, targets, delta=delta)
    return ErrorSums(sums.loss, sums.squared_error), delta


def _logits(draw: np.random.Generator, rows: int, width: int, size: float) -> Numbers:
    """Return net inputs (rows, width) of ±size, with small ones among them."""
    return np.where(draw.random((rows, width)) < 0.3, 1.0, size) * draw.uniform(-1, 1, (rows, width))


def _one_hot(draw: np.random.Generator, rows: int, width: int) -> Numbers:
    return np.eye(width)[draw.integers(0, width, rows)] if width > 1 else draw.integers(0, 2, (rows, 1)).astype(float)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("width", [2, 3, 10])
def test_softmax_cross_entropy_is_logsumexp_less_the_right_logit(width: int, size: float, dtype: str) -> None:
    """The loss against scipy's logsumexp, delta against softmax - t; ±1e4 overflows nowhere."""
    draw = np.random.default_rng(width)
    net, targets = _logits(draw, 50, width, size).astype(dtype), _one_hot(draw, 50, width).astype(dtype)
    sums, delta = _signal("cross_entropy", net, targets)
    wide, known = net.astype(np.float64), targets.astype(np.float64)
    eps = float(np.finfo(dtype).eps)
    assert math.isclose(
        sums.loss, float((logsumexp(wide, axis=1) - (wide * known).sum(axis=1)).sum()), rel_tol=50 * eps
    )
    # r - max r is rounded to eps max|r|, and so is the exponent.
    np.testing.assert_allclose(delta, softmax(wide, axis=1) - known, rtol=0, atol=4 * eps * max(1, min(size, 100)))
    assert math.isclose(sums.squared_error, float((delta.astype(np.float64) ** 2).sum()), rel_tol=50 * eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_logistic_cross_entropy_is_log1p_of_exp(size: float, dtype: str) -> None:
    """The loss against max(r, 0) + log1p(exp(-|r|)) - t r, delta against the logistic function."""
    draw = np.random.default_rng(5)
    net = _logits(draw, 60, 1, size).astype(dtype)
    targets = _one_hot(draw, 60, 1).astype(dtype)
    sums, delta = _signal("cross_entropy", net, targets)
    wide, known = net.astype(np.float64), targets.astype(np.float64)
    expected = np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide))) - known * wide
    eps = float(np.finfo(dtype).eps)
    assert math.isclose(sums.loss, float(expected.sum()), rel_tol=50 * eps)
    np.testing.assert_allclose(delta, expit(wide) - known, rtol=0, atol=4 * eps)
    assert math.isclose(sums.squared_error, float(((expit(wide) - known) ** 2).sum()), rel_tol=50 * eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("width", [2, 3, 16, 21])
def test_labels_are_one_logistic_function_each(width: int, size: float, dtype: str) -> None:
    """Loss and delta are those of each output alone, to its last bit in delta; ±1e4 overflows nowhere."""
    draw = np.random.default_rng(width)
    net = _logits(draw, 60, width, size).astype(dtype)
    targets = draw.integers(0, 2, (60, width)).astype(dtype)
    weights = draw.random(60).astype(dtype)
    delta = np.full_like(net, np.nan)
    sums = error_signal("binary_cross_entropy", net, targets, weights=weights, delta=delta)
    alone = np.full((60, 1), np.nan, dtype)
    loss = squares = 0.0
    for k in range(width):
        column, known = (np.ascontiguousarray(each[:, k : k + 1]) for each in (net, targets))
        one = error_signal("cross_entropy", column, known, weights=weights, delta=alone)
        loss, squares = loss + one.loss, squares + one.squared_error
        np.testing.assert_array_equal(delta[:, k], alone[:, 0])
    assert math.isclose(sums.loss, loss, rel_tol=1e-13)
    assert math.isclose(sums.squared_error, squares, rel_tol=1e-13)
    wide = net.astype(np.float64)
    np.testing.assert_allclose(label_probabilities(net), expit(wide), rtol=1e-14, atol=1e-300)
    np.testing.assert_array_equal(label_probabilities(net) > 0.5, predicted_labels(net))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 3, 16, 21])
def test_poisson_is_half_the_deviance_of_scikit_learn(width: int, dtype: str) -> None:
    """Against its mean_poisson_deviance; delta is exp r - t; counts of 0 and of a million among them, and rates between."""
    draw = np.random.default_rng(width)
    net = draw.uniform(-6, 6, (50, width)).astype(dtype)
    targets = draw.poisson(np.exp(net.astype(float))).astype(dtype)
    targets[0], targets[1], targets[2] = 0, 1e6, 0.25
    weights = draw.random(50).astype(dtype)
    delta = np.full_like(net, np.nan)
    sums = error_signal("poisson", net, targets, weights=weights, delta=delta)
    wide, known, counted = (each.astype(np.float64) for each in (net, targets, weights))
    deviances = [mean_poisson_deviance(known[:, k], np.exp(wide[:, k]), sample_weight=counted) for k in range(width)]
    eps = float(np.finfo(dtype).eps)
    assert math.isclose(2 * sums.loss, sum(deviances) * counted.sum(), rel_tol=50 * eps)
    errors = np.exp(wide) - known
    np.testing.assert_allclose(delta, counted[:, None] * errors, rtol=20 * eps, atol=20 * eps * known.max())
    assert math.isclose(sums.squared_error, float((counted[:, None] * errors**2).sum()), rel_tol=50 * eps)
    np.testing.assert_allclose(rates(net), np.exp(wide), rtol=1e-14)
    assert math.isinf(error_signal("poisson", np.full((1, 1), 800.0, dtype), np.ones((1, 1), dtype)).loss)


def test_one_label_has_the_bits_of_one_logistic_output() -> None:
    draw = np.random.default_rng(0)
    network, inputs = Network((4, 5, 1), ("tanh", "identity")), draw.standard_normal((300, 4))
    targets = draw.integers(0, 2, (300, 1)).astype(float)
    theta = network.initial_parameters(0)
    losses: tuple[LossName, ...] = ("cross_entropy", "binary_cross_entropy")
    one, other = (gradient_sum(network, theta, inputs, targets, loss) for loss in losses)
    assert (one.loss, one.gradient.tobytes()) == (other.loss, other.gradient.tobytes())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_sure_and_right_or_sure_and_wrong(width: int, dtype: str) -> None:
    """Logits of ±1e4: right, the loss and delta are exactly 0; wrong, the loss is the distance of the logits and delta ±1."""
    net = np.full((1, width), -1e4, dtype)
    net[0, 0] = 1e4
    right = np.zeros((1, width), dtype)
    right[0, 0] = 1
    sums, delta = _signal("cross_entropy", net, right)
    assert sums == (0.0, 0.0)
    assert (delta == 0).all()
    wrong = np.roll(right, 1) if width > 1 else 1 - right
    sums, delta = _signal("cross_entropy", net, wrong)
    assert sums == ((2e4, 2.0) if width > 1 else (1e4, 1.0))
    assert np.abs(delta).sum() == min(width, 2)


@settings(deadline=None)
@given(seed=st.integers(0, 999), width=st.integers(2, 6), shift=st.sampled_from([-1e4, -3.0, 50.0, 1e4]))
def test_a_shift_of_all_logits_changes_nothing(seed: int, width: int, shift: float) -> None:
    """Softmax knows differences only: loss and delta agree to the rounding of the shifted logits."""
    draw = np.random.default_rng(seed)
    net, targets = _logits(draw, 5, width, 4.0), _one_hot(draw, 5, width)
    sums, delta = _signal("cross_entropy", net, targets)
    moved, moved_delta = _signal("cross_entropy", net + shift, targets)
    assert math.isclose(sums.loss, moved.loss, rel_tol=1e-10, abs_tol=1e-10)
    np.testing.assert_allclose(delta, moved_delta, atol=1e-11)


@settings(deadline=None)
@given(seed=st.integers(0, 999))
def test_one_output_is_two_with_the_other_held_at_0(seed: int) -> None:
    """The logistic function of r is the softmax of (0, r): same loss, same delta, same probabilities."""
    draw = np.random.default_rng(seed)
    net, targets = _logits(draw, 7, 1, 20.0), _one_hot(draw, 7, 1)
    one, delta = _signal("cross_entropy", net, targets)
    both = np.hstack([np.zeros_like(net), net])
    two, both_delta = _signal("cross_entropy", both, np.hstack([1 - targets, targets]))
    assert math.isclose(one.loss, two.loss, rel_tol=1e-12, abs_tol=1e-12)
    np.testing.assert_allclose(delta[:, 0], both_delta[:, 1], atol=1e-14)
    np.testing.assert_allclose(probabilities(net), probabilities(both), rtol=1e-13)


@settings(deadline=None)
@given(seed=st.integers(0, 999), width=st.integers(2, 5))
def test_targets_may_be_probabilities(seed: int, width: int) -> None:
    """Any targets that sum to 1: -sum t log p, and delta that sums to 0 over the outputs of a row."""
    draw = np.random.default_rng(seed)
    net, targets = _logits(draw, 6, width, 9.0), draw.dirichlet(np.ones(width), 6)
    sums, delta = _signal("cross_entropy", net, targets)
    assert math.isclose(sums.loss, -float((targets * log_softmax(net, axis=1)).sum()), rel_tol=1e-12)
    np.testing.assert_allclose(delta.sum(axis=1), 0, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_squared_error_is_half_the_sum_of_squares(dtype: str) -> None:
    """E1 and S1 at numbers whose squares are exact: to the last bit; squares are added up in float64."""
    outputs = np.array([[1.0, -2.0], [0.5, 4096.0]], dtype)
    targets = np.array([[0.0, 1.0], [0.5, 0.0]], dtype)
    sums, delta = _signal("squared_error", outputs, targets)
    assert sums == (0.5 * (1 + 9 + 4096**2), 1.0 + 9 + 4096**2)
    np.testing.assert_array_equal(delta, outputs - targets)
    assert delta.dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 7])
def test_probabilities_sum_to_one(width: int, dtype: str) -> None:
    """In float64, within [0, 1], against scipy, up to logits of ±1e4; the surest class is the predicted one."""
    draw = np.random.default_rng(width)
    net = np.concatenate([_logits(draw, 40, width, size) for size in (1.0, 50.0, 800.0, 1e4)]).astype(dtype)
    before = net.copy()
    with np.errstate(all="raise", under="ignore"):
        found = probabilities(net)
    np.testing.assert_array_equal(net, before)
    assert found.shape == (len(net), max(width, 2))
    assert found.dtype == np.float64
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-14)
    wide = net.astype(np.float64)
    expected = softmax(wide, axis=1) if width > 1 else np.hstack([expit(-wide), expit(wide)])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_array_equal(found.argmax(axis=1), predicted_classes(net, logits=True))


def test_the_class_that_outputs_stand_for() -> None:
    """The first of the largest; one output is cut at 0 for a logit, at 1/2 for an output trained on 0 and 1."""
    assert predicted_classes(np.array([[1.0, 3.0, 3.0], [2.0, 1.0, 0.0]]), logits=True).tolist() == [1, 0]
    single = np.array([[-1e-9], [0.0], [1e-9], [0.5], [0.5000001]])
    assert predicted_classes(single, logits=True).tolist() == [0, 0, 1, 1, 1]
    assert predicted_classes(single, logits=False).tolist() == [0, 0, 0, 0, 1]


def test_names_that_are_no_loss() -> None:
    """The names there are, in the message."""
    with pytest.raises(ValueError, match="'hinge' is not a loss; expected one of: squared_error, cross_entropy"):
        loss_code("hinge")  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    seed=st.integers(0, 999),
    width=st.integers(1, 20),
    limit=st.floats(0.1, 3),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_huber_is_a_square_that_turns_into_a_line(seed: int, width: int, limit: float, dtype: str) -> None:
    """Against scipy's; the signal is the error, clipped; the squared error stays that of the outputs."""
    draw = np.random.default_rng(seed)
    outputs, targets = (draw.standard_normal((9, width)).astype(dtype) * 2 for _ in range(2))
    delta = np.full_like(outputs, np.nan)
    sums = error_signal("huber", outputs, targets, huber_delta=limit, delta=delta)
    error = (outputs - targets).astype(np.float64)
    assert math.isclose(sums.loss, huber(np.dtype(dtype).type(limit), error).sum(), rel_tol=1e-6)
    np.testing.assert_allclose(delta, np.clip(error, -limit, limit), rtol=1e-6, atol=1e-7)
    assert math.isclose(sums.squared_error, (error**2).sum(), rel_tol=1e-6)


def test_the_absolute_error_pulls_with_the_same_force_from_anywhere() -> None:
    """delta is -1, 0 or 1, whatever the distance; NaN stays NaN."""
    outputs, targets = np.array([[1.0, 2.0], [3.0, -7.0]]), np.array([[0.5, 2.0], [9.0, -7.5]])
    delta = np.full_like(outputs, np.nan)
    sums = error_signal("absolute_error", outputs, targets, delta=delta)
    assert sums.loss == 0.5 + 0 + 6 + 0.5
    assert delta.tolist() == [[1, 0], [-1, 1]]
    error_signal("absolute_error", np.full((1, 1), np.nan), np.zeros((1, 1)), delta=delta[:1, :1].copy())
    assert np.isnan(error_signal("absolute_error", np.full((1, 1), np.nan), np.zeros((1, 1))).loss)


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("width", [1, 3])
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), rows=st.integers(1, 40))
def test_a_row_of_weight_2_counts_like_two_rows(loss: LossName, width: int, seed: int, rows: int) -> None:
    """And one of weight 0 like none: in the loss, in the squared error and in the gradient."""
    draw = np.random.default_rng(seed)
    network = Network((4, 5, width), ("tanh", "identity"))
    theta, inputs = network.initial_parameters(seed, "float64"), draw.standard_normal((rows, 4))
    targets = _one_hot(draw, rows, width) if loss in WITH_OUTPUT_FUNCTION else draw.standard_normal((rows, width))
    times = draw.integers(0, 4, rows)
    times[0] = 2
    weighted = gradient_sum(network, theta, inputs, targets, loss, weights=times)
    repeated = gradient_sum(network, theta, inputs.repeat(times, axis=0), targets.repeat(times, axis=0), loss)
    assert weighted.weight == repeated.weight == times.sum()
    np.testing.assert_allclose(weighted.gradient, repeated.gradient, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(
        (weighted.loss, weighted.squared_error), (repeated.loss, repeated.squared_error), rtol=1e-12
    )


def test_a_count_below_0_is_refused() -> None:
    network = Network((2, 1), ("identity",))
    with pytest.raises(ValueError, match="targets: -1 is below 0; expected counts or rates"):
        gradient_sum(network, np.zeros(3), np.zeros((2, 2)), [[3.0], [-1.0]], "poisson")


def test_weights_of_1_change_no_bit() -> None:
    network = Network((4, 5, 1), ("tanh", "identity"))
    draw = np.random.default_rng(0)
    arguments = network, network.initial_parameters(0), draw.standard_normal((300, 4)), draw.standard_normal((300, 1))
    with_ones, without = (gradient_sum(*arguments, "huber", weights=each) for each in (np.ones(300), None))
    assert with_ones.gradient.tobytes() == without.gradient.tobytes()
    assert with_ones.loss == without.loss
