"""Between dbp's flat parameter vector and scikit-learn's lists of weights and biases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dbp.network.activations import ActivationName
from dbp.network.network import Network
from dbp.optimizers.protocol import Vector


def network_of(sizes: Sequence[int], activation: ActivationName) -> Network:
    """Return the network: hidden layers of one activation; the output is linear, or a net input of softmax or logistic function."""
    return Network(sizes, [*[activation] * (len(sizes) - 2), "identity"])


def start_vector(
    network: Network, activation: ActivationName, random: np.random.RandomState, dtype: np.dtype[np.floating]
) -> Vector:
    """Draw the start vector (P,) as scikit-learn does, biases included, so that one seed gives one start (Glorot & Bengio 2010)."""
    theta = np.empty(network.parameter_count)
    factor = 2.0 if activation == "sigmoid" else 6.0
    for layer in network.layers(theta):
        limit = math.sqrt(factor / sum(layer.weights.shape))
        layer.weights[...] = random.uniform(-limit, limit, layer.weights.shape)
        layer.bias[...] = random.uniform(-limit, limit, layer.bias.shape)
    return theta.astype(dtype)


def taken_apart(network: Network, theta: Vector) -> tuple[list[Vector], list[Vector]]:
    """Return the weights [(fan_in, fan_out), ...] and biases [(fan_out,), ...] of a vector (P,), copied."""
    layers = list(network.layers(theta))
    return [layer.weights.copy() for layer in layers], [layer.bias.copy() for layer in layers]


def put_together(
    network: Network, weights: Sequence[Vector], biases: Sequence[Vector], dtype: np.dtype[np.floating]
) -> Vector:
    """Return the vector (P,) of weights and biases. ValueError where they do not fit the network."""
    theta = np.empty(network.parameter_count, dtype)
    layers = list(network.layers(theta))
    found = [np.shape(each) for each in (*weights, *biases)]
    expected = [each.shape for each in (*(layer.weights for layer in layers), *(layer.bias for layer in layers))]
    if found != expected:
        raise ValueError(
            f"coefs_ and intercepts_ have shapes {found}; expected {expected}: "
            "fit with warm_start or partial_fit goes on with the layers of the last fit"
        )
    for layer, weight, bias in zip(layers, weights, biases, strict=True):
        layer.weights[...], layer.bias[...] = weight, bias
    return theta
