"""Start weights: the limits and variances that their papers state, and the bits of the default for ever."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from dbp import Network
from dbp.network.initializers import Initializer

NETWORK = Network((300, 200, 100), ["tanh", "identity"])
VARIANCES = {  # as the papers state them, of a layer's inputs and units
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}


@pytest.mark.parametrize("name", VARIANCES)
def test_weights_have_the_variance_of_the_paper(name):
    """Of 60,000 and 20,000 draws: within 3 %, which is more than four standard errors of a uniform distribution's variance."""
    theta = NETWORK.initial_parameters(5, "float64", Initializer(name))
    for layer in NETWORK.layers(theta):
        variance = VARIANCES[name](*layer.weights.shape)
        assert layer.weights.var() == pytest.approx(variance, rel=0.03)
        assert abs(layer.weights.mean()) < 4 * math.sqrt(variance / layer.weights.size)
        assert np.abs(layer.weights).max() <= math.sqrt(3 * variance)


def test_uniform_weights_fill_their_range():
    theta = NETWORK.initial_parameters(5, "float64", Initializer("uniform", 0.25))
    for layer in NETWORK.layers(theta):
        assert 0.249 < np.abs(layer.weights).max() <= 0.25
        assert layer.weights.var() == pytest.approx(0.25**2 / 3, rel=0.03)


@pytest.mark.parametrize("initializer", [*map(Initializer, VARIANCES), Initializer("uniform", 1.0)])
def test_biases_are_zero_and_weights_depend_on_the_seed(initializer):
    first, again, other = (NETWORK.initial_parameters(seed, "float64", initializer) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    for one, two in zip(NETWORK.layers(first), NETWORK.layers(other), strict=True):
        assert not one.bias.any()
        assert (one.weights != two.weights).all()


def test_the_default_keeps_its_bits():
    """Recorded before there were others: whoever trained a job with defaults gets the same start for ever."""
    network = Network((3, 5, 2), ["tanh", "identity"])
    digests = [
        hashlib.sha256(network.initial_parameters(7, dtype).tobytes()).hexdigest() for dtype in ("float32", "float64")
    ]
    assert digests == [
        "153e9e4cdfe7cb0d8701234965c795fa28918acfbe9d01b6d2be4f28506b4ab9",
        "c530bca0c37bf79f530e0228a6c02ffbade4f6dace7abb401eba85d0ca742628",
    ]


@pytest.mark.parametrize(
    "arguments", [("uniform",), ("uniform", 0.0), ("uniform", -1.0), ("uniform", math.nan), ("he", 0.5)]
)
def test_a_range_that_does_not_fit_is_refused(arguments):
    with pytest.raises(ValueError, match="expected"):
        Initializer(*arguments)
