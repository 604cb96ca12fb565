"""A partial sum: what a set of rows adds to the objective and its gradient (D1 of the derivation).

It carries sums only, never means: one division at the root of the tree makes the mean, so the objective is the same for any
cut of the rows into shards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.floating]


class Summand(Protocol):
    """Anything the reduction tree can add."""

    def add(self, other: Self) -> Self:
        """Return self + other, self being the left (earlier) operand. May reuse self's memory, never other's."""
        ...

    def owned(self) -> Self:
        """Return it with arrays of its own: those that lie in memory that others write to are copied."""
        ...


@dataclass(frozen=True, slots=True)
class PartialSum:
    """Sums over some rows. All scalars are float64 or exact integers; the gradient has the job's precision.

    ``gradient`` is dE/dtheta summed over the rows, (P,); with the Gauss-Newton matrix behind it, (P + P * P,), where the curvature
    was asked for; or empty, (0,), where only the loss was.
    ``weight`` is the sum of the sample weights (the number of rows where there are none): the divisor of the mean.
    """

    loss: float
    gradient: Vector
    weight: float
    squared_error: float = 0.0  # sum over rows and outputs of (y - t)^2; gives the RMS (E2)
    rows: int = 0
    correct: int = 0  # rows classified right; counted where only the loss was asked for

    def add(self, other: PartialSum) -> PartialSum:
        """Return the sum; the gradients are added into self's array if that is writable, else into a new one.

        An array received from another process is read-only (it lies in shared memory), so it is never written to.
        """
        mine, theirs = self.gradient, other.gradient
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:  # numpy would stretch an array of one number
            raise RuntimeError(
                f"sums of shards that do not belong together: {theirs.shape} {theirs.dtype}, not {mine.shape} {mine.dtype}"
            )
        own = self.gradient.flags.writeable
        gradient = np.add(self.gradient, other.gradient, out=self.gradient if own else None)
        return PartialSum(
            loss=self.loss + other.loss,
            gradient=gradient,
            weight=self.weight + other.weight,
            squared_error=self.squared_error + other.squared_error,
            rows=self.rows + other.rows,
            correct=self.correct + other.correct,
        )

    def owned(self) -> PartialSum:
        """Return it with an array of its own: itself, or a copy of one that lies in shared memory."""
        return self if self.gradient.flags.writeable else replace(self, gradient=self.gradient.copy())
