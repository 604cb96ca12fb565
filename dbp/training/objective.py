"""The objective: from sums over samples to a value and a gradient. All that an optimiser sees.

With E the loss summed over the rows, M their weight (the number of rows), w the weights without the biases:

    reduction: mean    E / M + l2/2 |w|^2
    reduction: sum     E     + l2/2 |w|^2      (the derivation's own E, E1)

The one division is made here, at the root of the reduction tree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from dbp.network.network import Network
from dbp.optimizers.protocol import Evaluation, WithCurvature
from dbp.sums.batches import Batch, ChosenRows
from dbp.sums.messages import Part, SumTask, TaskKind
from dbp.sums.partial_sum import PartialSum
from dbp.sums.pool import WorkerPool

Vector = NDArray[np.floating]
Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Evaluated:
    """The objective on a batch, and what is reported of it."""

    evaluation: Evaluation
    rms: float
    rows: int
    weight: float = 1.0  # of those rows; 0: they say nothing


@dataclass(frozen=True)
class LossReport:
    """The loss over a whole part, without a gradient."""

    mean: float  # per row, without the penalty
    objective: float
    rms: float
    accuracy: float | None  # None where the targets are no classes


@dataclass(frozen=True)
class Objective:
    """Asks the pool for sums and turns them into the objective."""

    pool: WorkerPool
    network: Network
    reduction: Reduction
    l2_penalty: float
    classification: bool
    rms_unit: float = 1.0  # one unit of a standardised target, in the target's own units

    def evaluate(self, asked: Vector | WithCurvature, step: int, batch: Batch | ChosenRows | None) -> Evaluated:
        """Return value, gradient (P,) and, if asked for, curvature at a point, over all training rows or a batch of them."""
        parameters = asked.point if isinstance(asked, WithCurvature) else asked
        kind: TaskKind = "curvature" if isinstance(asked, WithCurvature) else "gradient"
        total = cast(PartialSum, self.pool.sum(SumTask(kind, "train", step, batch), parameters))
        # A new array in every case: the sum's own may lie in shared memory and is gone with the next call.
        gradient = total.gradient[: parameters.size] / parameters.dtype.type(self._divisor(total))
        curvature = self._curvature(total, parameters.size) if kind == "curvature" else None
        value = total.loss / self._divisor(total)
        if self.l2_penalty:
            value += self._penalty(parameters, gradient)
        return Evaluated(
            Evaluation(value, gradient, self._rms(total), curvature), self._rms(total), total.rows, total.weight
        )

    def _curvature(self, total: PartialSum, parameters: int) -> NDArray[np.float64]:
        """Return the upper triangle of J'J of the objective (P, P), the penalty's l2 on the weights' diagonal included."""
        matrix = total.gradient[parameters:].reshape(parameters, parameters) / np.float64(self._divisor(total))
        penalty = np.zeros(parameters)
        for layer in self.network.layers(penalty):
            layer.weights[...] = self.l2_penalty
        matrix[np.diag_indices(parameters)] += penalty
        return np.asarray(matrix, np.float64)

    def report(self, part: Part, parameters: Vector) -> LossReport:
        """Return the loss at `parameters` over all rows of a part."""
        total = cast(PartialSum, self.pool.sum(SumTask("loss", part), parameters))
        value = total.loss / self._divisor(total)
        if self.l2_penalty:
            value += self._penalty(parameters, None)
        accuracy = total.correct / total.rows if self.classification else None
        return LossReport(total.loss / (total.weight or 1.0), value, self._rms(total), accuracy)

    def _divisor(self, total: PartialSum) -> float:
        # Rows that weigh nothing have no mean; their sum is 0, and so is the step they ask for.
        return total.weight if self.reduction == "mean" and total.weight else 1.0

    def _rms(self, total: PartialSum) -> float:
        # sqrt(nan) is nan, and a negative sum cannot be: E2
        return math.sqrt(total.squared_error / ((total.weight or 1.0) * self.network.sizes[-1])) * self.rms_unit

    def _penalty(self, parameters: Vector, gradient: Vector | None) -> float:
        """Return l2/2 |w|^2 and add its gradient, l2 w, where there is one to add to."""
        factor = parameters.dtype.type(self.l2_penalty)
        squares = 0.0
        for span in self.network.weight_spans:
            weights = parameters[span]
            double = weights.astype(np.float64)
            squares += float(np.multiply(double, double, out=double).sum())
            if gradient is not None:
                gradient[span] += factor * weights
        return 0.5 * self.l2_penalty * squares
