"""`gradient_sum`, `gauss_newton_sum` and `error_signals`: the kernel for a caller with arrays at hand, in one call."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dbp.network.backprop import Kernel
from dbp.network.losses import LossName
from dbp.network.network import Network, as_matrix
from dbp.sums.partial_sum import PartialSum


def gradient_sum(
    network: Network,
    theta: NDArray[np.floating],
    inputs: ArrayLike,
    targets: ArrayLike,
    loss: LossName,
    weights: ArrayLike | None = None,
    *,
    huber_delta: float = 1.0,
) -> PartialSum:
    """Return the loss and its gradient with respect to `theta`, summed (not averaged) over the rows.

    theta (P,), float32 or float64: its dtype is the precision of the computation; inputs (rows, N_0); targets
    (rows, N_out), or for cross_entropy also whole-number class indices (rows,); weights (rows,), how much each row counts
    (None: once); `huber_delta` is the d of the Huber loss. The result has ``.loss``, ``.gradient`` (P,) and ``.weight``
    (rows, or the sum of the weights). Raises ValueError where shapes do not fit, class indices are out of range,
    or the network cannot be trained (threshold).
    """
    theta, matrix, known = _checked(network, theta, inputs, targets, loss)
    gradient = np.empty_like(theta)
    counts = None if weights is None else _weights(weights, theta.dtype, len(matrix))
    kernel = Kernel(network, loss, theta.dtype, huber_delta=huber_delta)
    kernel.move_to(theta)
    sums = kernel.gradient_sum(matrix, known, gradient, counts)
    return PartialSum(
        loss=sums.loss,
        gradient=gradient,
        weight=float(len(matrix)) if counts is None else float(counts.sum(dtype=np.float64)),
        squared_error=sums.squared_error,
        rows=len(matrix),
    )


def gauss_newton_sum(
    network: Network, theta: NDArray[np.floating], inputs: ArrayLike, weights: ArrayLike | None = None
) -> NDArray[np.floating]:
    """Return J'J summed over the rows (P, P), J the Jacobian of a row's outputs: of the squared error, the Gauss-Newton matrix.

    Arguments and errors are those of `gradient_sum`.
    """
    network.check_vector(theta)
    matrix = as_matrix(inputs, theta.dtype, network.sizes[0], "inputs")
    if len(matrix) == 0:
        raise ValueError("inputs: no rows; expected at least one")
    counts = None if weights is None else _weights(weights, theta.dtype, len(matrix))
    kernel = Kernel(network, "squared_error", theta.dtype)
    kernel.move_to(np.ascontiguousarray(theta))
    upper = np.empty((theta.size, theta.size), theta.dtype)
    kernel.gauss_newton_sum(matrix, upper, counts)
    symmetric: NDArray[np.floating] = upper + np.triu(upper, 1).T
    return symmetric


def error_signals(
    network: Network,
    theta: NDArray[np.floating],
    inputs: ArrayLike,
    targets: ArrayLike,
    loss: LossName,
    *,
    huber_delta: float = 1.0,
) -> list[NDArray[np.floating]]:
    """Return the error signal delta as it travels back, per layer: [(rows, N_0) at the inputs, ..., (rows, N_L) at the outputs].

    delta_j is dE/d(output of neuron j) for each row (S1, S2): which neurons the error reaches, and how large it still is
    there (S5). Arguments and errors are those of `gradient_sum`.
    """
    theta, matrix, known = _checked(network, theta, inputs, targets, loss)
    return Kernel(network, loss, theta.dtype, huber_delta=huber_delta).error_signals(theta, matrix, known)


def _checked(
    network: Network, theta: NDArray[np.floating], inputs: ArrayLike, targets: ArrayLike, loss: LossName
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating] | NDArray[np.int32]]:
    network.check_vector(theta)
    theta = np.ascontiguousarray(theta)
    matrix = as_matrix(inputs, theta.dtype, network.sizes[0], "inputs")
    known = _targets(network, np.asarray(targets), theta.dtype, loss)
    if len(known) != len(matrix):
        raise ValueError(f"targets: {len(known)} rows; expected {len(matrix)}, one per row of the inputs")
    if len(matrix) == 0:
        raise ValueError("inputs: no rows; expected at least one")
    return theta, matrix, known


def _weights(weights: ArrayLike, dtype: np.dtype[np.floating], rows: int) -> NDArray[np.floating]:
    counts = np.ascontiguousarray(weights, dtype=dtype)
    if counts.shape != (rows,):
        raise ValueError(f"weights: shape {counts.shape}; expected ({rows},), one per row of the inputs")
    if not (counts >= 0).all():
        raise ValueError("weights: some are negative or NaN; expected 0 or more")
    return counts


def _targets(
    network: Network, targets: NDArray[np.generic], dtype: np.dtype[np.floating], loss: LossName
) -> NDArray[np.floating] | NDArray[np.int32]:
    outputs = network.sizes[-1]
    if loss == "cross_entropy" and targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer):
        classes = max(outputs, 2)
        if len(targets) and not (targets.min() >= 0 and targets.max() < classes):
            raise ValueError(
                f"targets: class indices {targets.min()} to {targets.max()}; expected 0 to {classes - 1} for {outputs} outputs"
            )
        return targets.astype(np.int32)
    numbers = as_matrix(targets, dtype, outputs, "targets")
    if loss == "poisson" and (numbers < 0).any():
        raise ValueError(f"targets: {numbers.min():g} is below 0; expected counts or rates of 0 or more with poisson")
    return numbers
