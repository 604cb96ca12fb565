"""Losses: from outputs y and targets t to an error and its signal delta = dE/dy (rows E1 and S1); computed in native/losses.h.

    squared_error    E = 1/2 sum_i sum_n (y - t)^2 (E1)                            delta = y - t (S1)
    cross_entropy    E = -sum_i sum_n t log p, p = softmax(r) (Bridle 1990),       delta = p - t, with respect to r
                     or the logistic function for one output
    binary_cross_entropy
                     E = -sum_i sum_n t log p + (1 - t) log(1 - p), p = the logistic function of each output: labels that do
                     not exclude each other; delta = p - t, with respect to r
    huber            E = sum 1/2 e^2 where |e| <= d, else d (|e| - d/2), e = y - t (Huber 1964); delta = e clipped to [-d, d]
    absolute_error   E = sum |y - t|                                               delta = the sign of y - t, 0 at 0
    poisson          E = sum exp r - t r + t log t - t, half the Poisson deviance of counts or rates t >= 0 from exp r (Nelder &
                     Wedderburn 1972); delta = exp r - t, with respect to r

Each row may have a weight, which multiplies its error and so its signal.

Both cross-entropies and poisson take *net inputs*: softmax, logistic or exponential function is part of the loss, because together
they are exact; the first two never overflow. With a cross-entropy, the targets of a row are non-negative and sum to 1 (one output,
or binary_cross_entropy: each lies in [0, 1]).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from dbp.network.activations import activation_code
from dbp.network.compiled_network import CompiledNetwork, Sums

Block = NDArray[np.floating]
LossName = Literal["squared_error", "cross_entropy", "huber", "absolute_error", "binary_cross_entropy", "poisson"]
LOSS_NAMES: tuple[LossName, ...] = get_args(LossName)
CROSS_ENTROPIES: tuple[LossName, ...] = ("cross_entropy", "binary_cross_entropy")  # of probabilities
WITH_OUTPUT_FUNCTION: dict[LossName, str] = {  # losses of net inputs: what they make of them
    "cross_entropy": "softmax or logistic function",
    "binary_cross_entropy": "logistic function",
    "poisson": "exponential function",
}


class ErrorSums(NamedTuple):
    """Sums over rows, float64."""

    loss: float
    squared_error: (
        float  # of outputs (or of the probabilities or rates they stand for) against the targets; gives the RMS
    )


def loss_code(name: LossName) -> int:
    """Return the number by which the compiled kernel knows a loss; ValueError lists the names there are."""
    try:
        return LOSS_NAMES.index(name)
    except ValueError:
        raise ValueError(f"{name!r} is not a loss; expected one of: {', '.join(LOSS_NAMES)}") from None


def error_signal(
    loss: LossName,
    outputs: Block,
    targets: Block | NDArray[np.int32],
    *,
    weights: Block | None = None,
    huber_delta: float = 1.0,
    delta: Block | None = None,
) -> Sums:
    """Return the sums of the errors of outputs (rows, N), and how many rows are classified right; write dE/dy into `delta`.

    targets (rows, N) of the outputs' dtype, or class indices (rows,) int32; weights (rows,) or None; delta (rows, N) or None;
    all contiguous. `huber_delta` is d.
    """
    width = outputs.shape[1]
    identity = (activation_code("identity"),)
    network = CompiledNetwork(
        (width, width), identity, loss_code(loss), outputs.dtype, trains=True, huber_delta=huber_delta
    )
    return network.loss(outputs, targets, weights, delta)


def probabilities(outputs: Block) -> NDArray[np.float64]:
    """Return class probabilities (rows, classes) for the net inputs of a network trained with cross_entropy.

    One output gives two columns: 1 - p and p of the logistic function.
    """
    wide = outputs.astype(np.float64)
    if wide.shape[1] == 1:
        with np.errstate(over="ignore"):
            second = 1 / (1 + np.exp(-wide))
            first = 1 / (1 + np.exp(wide))
        return np.hstack([first, second])
    wide -= wide.max(axis=1, keepdims=True)
    np.exp(wide, out=wide)
    wide /= wide.sum(axis=1, keepdims=True)
    return wide


def label_probabilities(outputs: Block) -> NDArray[np.float64]:
    """Return the probability of each label (rows, labels) for the net inputs of a network trained with binary_cross_entropy."""
    with np.errstate(over="ignore"):
        chances: NDArray[np.float64] = 1 / (1 + np.exp(-outputs.astype(np.float64)))
    return chances


def rates(outputs: Block) -> NDArray[np.float64]:
    """Return exp r (rows, targets) for the net inputs r of a network trained with poisson: what is expected."""
    with np.errstate(over="ignore"):
        expected: NDArray[np.float64] = np.exp(outputs.astype(np.float64))
    return expected
