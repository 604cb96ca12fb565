"""Losses: from the outputs of a block to its error and the error signal delta (rows E1 and S1 of the derivation).

A loss gets the outputs y of the last layer (rows, N) and the targets t (rows, N), overwrites the outputs with
delta_i,n = dE/dy, and returns sums over the block's rows in float64. Cross-entropy takes *net inputs*: its
softmax (or, for one output, logistic function) is part of the loss, because together they are exact and never overflow.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.floating]
LossName = Literal["squared_error", "cross_entropy"]
LOSS_NAMES: tuple[LossName, ...] = get_args(LossName)


class ErrorSums(NamedTuple):
    """Sums over a block's rows, float64."""

    loss: float
    squared_error: float  # of the outputs (for cross-entropy: of the probabilities) against the targets; gives the RMS


class Loss(Protocol):
    """One loss; stateless."""

    def error_signal(self, outputs: Block, targets: Block, scratch: Block, per_row: Block) -> ErrorSums:
        """Overwrite `outputs` (rows, N) with delta = dE/d(outputs) and return the sums.

        Lent memory: `scratch` (rows, N) and `per_row` (rows, 1).
        """
        ...


class SquaredError:
    """E = 1/2 sum_i sum_n (y - t)^2 (E1); delta = y - t (S1)."""

    def error_signal(self, outputs: Block, targets: Block, scratch: Block, per_row: Block) -> ErrorSums:
        """See `Loss`."""
        np.subtract(outputs, targets, out=outputs)
        squared = _sum_of_squares(outputs, scratch)
        return ErrorSums(0.5 * squared, squared)


class CrossEntropy:
    """E = -sum_i sum_n t log p with p = softmax(r) (Bridle 1990), or the logistic function for one output.

    The targets of a row are non-negative and sum to 1 (one output: lie in [0, 1]). delta = p - t, with respect to r.
    """

    def error_signal(self, outputs: Block, targets: Block, scratch: Block, per_row: Block) -> ErrorSums:
        """See `Loss`; `outputs` are the net inputs r of the last layer."""
        if outputs.shape[1] == 1:
            loss = self._logistic(outputs, targets, scratch)
        else:
            loss = self._softmax(outputs, targets, scratch, per_row)
        np.subtract(outputs, targets, out=outputs)
        return ErrorSums(loss, _sum_of_squares(outputs, scratch))

    @staticmethod
    def _softmax(net: Block, targets: Block, scratch: Block, per_row: Block) -> float:
        # log p = r - max r - log sum exp(r - max r); the largest term is exp(0), so nothing overflows.
        np.max(net, axis=1, keepdims=True, out=per_row)
        np.subtract(net, per_row, out=net)
        np.multiply(net, targets, out=scratch)
        loss = -float(scratch.sum(dtype=np.float64))
        np.exp(net, out=net)
        np.sum(net, axis=1, keepdims=True, out=per_row)
        np.divide(net, per_row, out=net)
        np.log(per_row, out=per_row)
        return loss + float(per_row.sum(dtype=np.float64))

    @staticmethod
    def _logistic(net: Block, targets: Block, scratch: Block) -> float:
        # -t log p - (1 - t) log(1 - p) = log(1 + exp r) - t r
        np.multiply(net, targets, out=scratch)
        loss = -float(scratch.sum(dtype=np.float64))
        np.logaddexp(0, net, out=scratch)
        loss += float(scratch.sum(dtype=np.float64))
        np.negative(net, out=net)
        np.exp(net, out=net)
        np.add(net, 1, out=net)
        np.divide(1, net, out=net)
        return loss


def _sum_of_squares(block: Block, scratch: Block) -> float:
    np.multiply(block, block, out=scratch)
    return float(scratch.sum(dtype=np.float64))


_LOSSES: dict[LossName, Loss] = {"squared_error": SquaredError(), "cross_entropy": CrossEntropy()}


def loss_function(name: LossName) -> Loss:
    """Return the loss called `name`; ValueError lists the names there are."""
    try:
        return _LOSSES[name]
    except KeyError:
        raise ValueError(f"{name!r} is not a loss; expected one of: {', '.join(LOSS_NAMES)}") from None


def probabilities(outputs: Block) -> NDArray[np.float64]:
    """Return class probabilities (rows, classes) for the net inputs of a cross-entropy network.

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
