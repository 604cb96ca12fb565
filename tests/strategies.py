"""Networks and batches for hypothesis to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from dbp import Network

TRAINABLE = ("identity", "sigmoid", "tanh", "relu", "softplus", "leaky_relu")
LOSSES = ("squared_error", "cross_entropy", "huber", "absolute_error", "binary_cross_entropy", "poisson")
OF_NET_INPUTS = ("cross_entropy", "binary_cross_entropy", "poisson")


@dataclass(frozen=True)
class Problem:
    """A network, a point and a batch, all float64."""

    network: Network
    theta: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    loss: str


def problem(sizes, activations, loss: str, rows: int, seed: int, spread: float = 1.0) -> Problem:
    """Make the problem that these numbers name."""
    draw = np.random.default_rng(seed)
    network = Network(sizes, activations)
    theta = draw.standard_normal(network.parameter_count) * spread / np.sqrt(max(sizes[:-1]))
    inputs = draw.standard_normal((rows, sizes[0]))
    if loss not in OF_NET_INPUTS:
        targets = draw.standard_normal((rows, sizes[-1]))
    elif loss == "poisson":
        targets = draw.poisson(2, (rows, sizes[-1])).astype(float)
    elif loss == "binary_cross_entropy":
        targets = draw.integers(0, 2, (rows, sizes[-1])).astype(float)
    elif sizes[-1] == 1:
        targets = draw.integers(0, 2, (rows, 1)).astype(float)
    else:
        targets = np.eye(sizes[-1])[draw.integers(0, sizes[-1], rows)]
    return Problem(network, theta, inputs, targets, loss)


@st.composite
def problems(draw, activation: str, loss: str, rows: int = 40, width: int = 9, layers: int = 4) -> Problem:
    """A network with `activation` in its hidden layers (or as its only one, where the loss allows), and a batch for it."""
    hidden = draw(st.lists(st.integers(1, width), min_size=0, max_size=layers - 1))
    sizes = [draw(st.integers(1, width)), *hidden, draw(st.one_of(st.just(1), st.integers(2, width)))]
    others = st.sampled_from(TRAINABLE) if draw(st.booleans()) else st.just(activation)
    activations = [activation, *(draw(others) for _ in hidden)]
    if loss in OF_NET_INPUTS or (hidden and draw(st.booleans())):
        activations[-1] = "identity"
    return problem(
        sizes,
        activations,
        loss,
        draw(st.integers(1, rows)),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.sampled_from([0.1, 1.0, 3.0])),
    )
