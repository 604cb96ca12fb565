"""Activations: the right limits at the ends of the number line, without warnings, and nothing that hides a NaN."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from dbp import Network
from dbp.network.activations import ACTIVATION_NAMES, LEAKY_SLOPE, ActivationName, activate, multiply_derivative

Numbers = NDArray[np.floating]
TRAINABLE = tuple(name for name in ACTIVATION_NAMES if name != "threshold")
MAGNITUDES = (0.0, 5e-324, 1e-300, 1e-38, 1e-8, 0.5, 1.0, 30.0, 88.0, 89.0, 708.0, 710.0, 750.0, 1e38, 1e308)

# g and g', from formulas that are not those of the code.
FORMULAS: dict[ActivationName, tuple[Callable[[Numbers], Numbers], Callable[[Numbers], Numbers]]] = {
    "identity": (lambda r: r, lambda r: np.ones_like(r)),
    "sigmoid": (expit, lambda r: expit(r) * expit(-r)),
    "tanh": (lambda r: expit(r + r) - expit(-r - r), lambda r: 4 * expit(r + r) * expit(-r - r)),
    "relu": (lambda r: np.where(r > 0, r, 0.0), lambda r: np.where(r > 0, 1.0, 0.0)),
    "softplus": (lambda r: np.logaddexp(r, 0), expit),
    "leaky_relu": (lambda r: np.where(r > 0, r, LEAKY_SLOPE * r), lambda r: np.where(r > 0, 1.0, LEAKY_SLOPE)),
    "threshold": (lambda r: np.where(r < 0, 0.0, 1.0), lambda r: np.zeros_like(r)),
}


def _extremes(dtype: str) -> Numbers:
    """Return a block (rows, 3) of every magnitude that `dtype` can hold, with either sign."""
    magnitudes = [m for m in MAGNITUDES if m <= float(np.finfo(dtype).max)]
    return np.repeat(np.array([s * m for m in magnitudes for s in (1, -1)], dtype)[:, None], 3, axis=1)


def _output(name: ActivationName, net: Numbers) -> Numbers:
    output = net.copy()
    with np.errstate(all="raise", over="ignore", under="ignore"):  # as the kernel runs it, but stricter
        activate(name, output)
    return output


def _tolerance(dtype: str, units: float) -> float:
    return units * float(np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_outputs_are_those_of_the_formula_at_the_extremes(name: ActivationName, dtype: str) -> None:
    """From ±0 over ±750, where exp overflows, to ±1e308; whatever lay in the scratch block."""
    net = _extremes(dtype)
    output = _output(name, net)
    assert output.dtype == dtype
    assert np.isfinite(output).all()
    with np.errstate(over="ignore"):
        expected = FORMULAS[name][0](net.astype(np.float64))
    tiny = float(np.finfo(dtype).tiny)
    # tanh by the logistic function loses its last digits near 0: there it is r itself.
    small = np.abs(net) < 1e-7
    expected = np.where(small, net, expected) if name == "tanh" else expected
    np.testing.assert_allclose(output.astype(np.float64), expected, rtol=_tolerance(dtype, 8), atol=tiny)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TRAINABLE)
def test_derivatives_come_from_the_outputs(name: ActivationName, dtype: str) -> None:
    """`delta` times g'(r), to the rounding that 1 - g leaves; never NaN, and never of the wrong sign."""
    net = _extremes(dtype)
    delta = np.full_like(net, 3.0)
    with np.errstate(all="raise", under="ignore"):
        multiply_derivative(name, _output(name, net), delta)
    assert np.isfinite(delta).all()
    assert (delta >= 0).all()
    with np.errstate(over="ignore"):
        expected = 3 * FORMULAS[name][1](net.astype(np.float64))
    np.testing.assert_allclose(delta, expected, rtol=_tolerance(dtype, 8), atol=_tolerance(dtype, 12))


@pytest.mark.parametrize("name", TRAINABLE)
@settings(deadline=None)
@given(rows=st.lists(st.floats(-40, 40), min_size=1, max_size=9))
def test_derivatives_are_those_of_the_formula_for_any_number(name: ActivationName, rows: list[float]) -> None:
    """Where the formula's own value is far above rounding, the digits agree; below, the absolute error is that of rounding."""
    net = np.array(rows)[:, None]
    delta = np.ones_like(net)
    multiply_derivative(name, _output(name, net), delta)
    np.testing.assert_allclose(delta, FORMULAS[name][1](net), rtol=1e-14, atol=5e-16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_small_derivatives_keep_all_their_digits(name: ActivationName, dtype: str) -> None:
    """Where g is small, so is g', and nothing is subtracted from 1 to find it: the error that goes back is exact."""
    net = -np.linspace(1, 80, 80, dtype=dtype)[:, None]
    delta = np.ones_like(net)
    multiply_derivative(name, _output(name, net), delta)
    np.testing.assert_allclose(delta, FORMULAS[name][1](net.astype(np.float64)), rtol=_tolerance(dtype, 8))


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_derivatives_at_a_corner(name: ActivationName) -> None:
    """g'(0) is the derivative from the left: 0, and the slope; for either sign of the zero."""
    net = np.array([[0.0], [-0.0]])
    delta = np.ones_like(net)
    multiply_derivative(name, _output(name, net), delta)
    assert delta[:, 0].tolist() == [0.0 if name == "relu" else LEAKY_SLOPE] * 2


def test_leaky_relu_passes_the_error_on_unchanged_where_it_is_active() -> None:
    """slope + (1 - slope) rounds to exactly 1 in either precision."""
    for dtype in ("float32", "float64"):
        delta: Numbers = np.array([[0.1], [1e-30], [7.0]], dtype)
        before = delta.copy()
        multiply_derivative("leaky_relu", np.full((3, 1), 2.5, dtype), delta)
        np.testing.assert_array_equal(delta, before)


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_a_network_warns_of_nothing_at_the_extremes(name: ActivationName) -> None:
    """Two layers, in either precision: warnings would be errors here."""
    with warnings.catch_warnings(), np.errstate(all="warn", under="ignore"):
        warnings.simplefilter("error")
        for dtype in ("float32", "float64"):
            inputs = _extremes(dtype)[:, :1]
            theta = np.array([1, 0, 1, 0], dtype)
            outputs = Network((1, 1, 1), (name, name)).forward(theta, inputs)
            assert np.isfinite(outputs).all()


@pytest.mark.parametrize("name", TRAINABLE)
def test_nan_stays_nan(name: ActivationName) -> None:
    """A computation that has gone wrong is seen at the output: no maximum takes the other operand."""
    assert np.isnan(_output(name, np.full((2, 2), np.nan))).all()


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_the_rest_of_the_block_is_left_alone(name: ActivationName) -> None:
    """Forward and derivative write into the rows they are given and no others."""
    block, scratch = np.full((6, 3), 0.5), np.full((6, 3), 0.25)
    activate(name, block[1:4])
    assert (block[[0, 4, 5]] == 0.5).all()
    if name != "threshold":
        multiply_derivative(name, block[1:4], scratch[1:4])
        assert (block[[0, 4, 5]] == 0.5).all()
        assert (scratch[[0, 4, 5]] == 0.25).all()


def test_threshold_has_no_derivative_to_learn_through() -> None:
    """Forward it is 0 or 1; backward it is refused, and delta stays as it was."""
    net = np.array([[-1e-300], [-0.0], [0.0], [1e-300]])
    assert _output("threshold", net)[:, 0].tolist() == [0.0, 1.0, 1.0, 1.0]
    delta = np.ones_like(net)
    with pytest.raises(ValueError, match="derivative of the threshold activation is zero"):
        multiply_derivative("threshold", net, delta)
    assert (delta == 1).all()


def test_names_that_are_no_activation() -> None:
    """The names there are, in the message."""
    with pytest.raises(ValueError, match=r"'Tanh' is not an activation; expected one of: identity, threshold, sigmoid"):
        activate("Tanh", np.zeros(3))  # type: ignore[arg-type]
