"""Levenberg-Marquardt (Levenberg 1944; Marquardt 1963; Hagan & Menhaj 1994 for networks) for the squared error.

The squared error is a sum of squares, so near a point its curvature is almost J'J, J the Jacobian of the outputs
(Gauss-Newton). J'J is a sum over samples, too: workers add it up along the tree like a gradient. With A = J'J and g the
gradient, a step solves

    (A + mu I) p = -g

and is taken if it lowers the objective. The damping mu follows Nielsen (1999, "Damping parameter in Marquardt's method"):
with rho = (E(w) - E(w + p)) / (1/2 p.(mu p - g)), how well the parabola foretold the fall, mu shrinks by
max(1/3, 1 - (2 rho - 1)^3) after a step, and grows by nu = 2, 4, 8, ... after each failure. Everything here is float64; the
network computes in the job's precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dbp.optimizers.descent import CANNOT_IMPROVE, is_finite
from dbp.optimizers.options import MethodOptions
from dbp.optimizers.protocol import Evaluation, State, StepResult, Trials, Vector, WithCurvature
from dbp.vectors import dot, power, scalar, solve_positive_definite

MOST_PARAMETERS = 4096
"""P^2 float64 numbers are then 128 MiB: in every worker, in every answer, and twice in the coordinator."""

_TRIALS = 40  # failures in a row after which nothing improves
_ROUNDING = 1e-2  # units of the last place of the objective: a fall foreseen to be smaller than that is none


class LevenbergMarquardtOptions(MethodOptions):
    """The `optimizer:` section of a job that uses Levenberg-Marquardt."""

    needs_curvature: ClassVar[bool] = True

    name: Literal["levenberg_marquardt"] = Field(
        description="Levenberg-Marquardt: for loss: squared_error and networks of at most 4,096 parameters; few steps, each of "
        "which sums a matrix of parameters x parameters."
    )
    damping: float = Field(
        default=1e-3, gt=0, le=1e6, description="mu at the start, in units of the largest diagonal element of J'J."
    )

    def build(self) -> LevenbergMarquardt:
        """Return the optimiser these options describe."""
        return LevenbergMarquardt(self.damping)


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Levenberg-Marquardt with Nielsen's damping."""

    damping: float

    def init(self, parameters: Vector) -> State:
        """The damping mu (NaN: not known yet) and its growth nu, (1,) each."""
        return {"damping": scalar(math.nan), "growth": scalar(2.0)}

    def step(self, parameters: Vector, state: State) -> Trials:
        """One look at the curvature; then trial steps until one lowers the objective."""
        here = yield WithCurvature(parameters)
        if not is_finite(here) or here.curvature is None or not np.isfinite(here.curvature.diagonal()).all():
            return StepResult(parameters, state, here)
        matrix = here.curvature.copy()  # borrowed, like the gradient
        here = Evaluation(here.value, here.gradient.copy(), here.rms)
        damping, growth = float(state["damping"][0]), float(state["growth"][0])
        largest = max(float(matrix.diagonal().max()), 1e-100)
        least = 1e-30 * largest  # damping that shrinks for ever could never grow again
        if math.isnan(damping):
            damping = self.damping * largest
        for _ in range(_TRIALS):
            move = _move(matrix, here.gradient, damping)
            if move is not None:
                foreseen = 0.5 * (damping * dot(move, move) - dot(move, here.gradient))
                point = (parameters + move).astype(parameters.dtype)
                if foreseen <= _noise(here, parameters) or np.array_equal(point, parameters):
                    break
                there = yield point
                fall = here.value - there.value
                if fall > 0 and is_finite(there):
                    damping = max(damping * max(1 / 3, 1 - power(2 * fall / foreseen - 1, 3)), least)
                    return StepResult(point, _state(damping, 2.0), here, reached=there)
            damping, growth = damping * growth, 2 * growth
        return StepResult(parameters, _state(damping, growth), here, CANNOT_IMPROVE)


def _state(damping: float, growth: float) -> State:
    return {"damping": scalar(damping), "growth": scalar(growth)}


def _move(matrix: NDArray[np.float64], gradient: Vector, damping: float) -> NDArray[np.float64] | None:
    """Return p of ``(A + mu I) p = -g``, (P,); None where the matrix is not positive definite (rounding) or p not finite."""
    damped = matrix.copy()
    damped[np.diag_indices_from(damped)] += damping
    move = solve_positive_definite(damped, np.negative(gradient, dtype=np.float64))
    return move if move is not None and np.isfinite(move).all() else None


def _noise(here: Evaluation, parameters: Vector) -> float:
    return _ROUNDING * float(np.finfo(parameters.dtype).eps) * abs(here.value)
