"""Nonlinear conjugate gradients, Polak-Ribiere+ (Nocedal & Wright 2006, section 5.2; Gilbert & Nocedal 1992).

    d = -g + beta d_before,   beta = max(0, g.(g - g_before) / g_before.g_before)

with a line search for the strong Wolfe conditions, its slope flattened well (eta = 0.1) as conjugacy needs. The first trial
of a search expects the same first-order change as the last step made. A direction that does not descend, and one along which
no step is good enough, gives way to steepest descent; only if that fails too is the point final.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from dbp.optimizers.descent import Known, descend, look, steepest_step, unmoved
from dbp.optimizers.line_search import LineSearch, check_order
from dbp.optimizers.options import MethodOptions
from dbp.optimizers.protocol import State, StepResult, Trials, Vector
from dbp.vectors import dot, norm, scalar, scaled


class ConjugateGradientOptions(MethodOptions):
    """The `optimizer:` section of a job that uses conjugate gradients."""

    name: Literal["conjugate_gradient"] = Field(
        description="Nonlinear conjugate gradients (Polak-Ribiere+) with a line search for the strong Wolfe conditions."
    )
    sufficient_decrease: float = Field(
        default=1e-4, gt=0, lt=0.5, description="mu: share of the promised decrease that a step must bring."
    )
    curvature: float = Field(
        default=0.1, gt=0, lt=1, description="eta: share of the slope that may be left after a step."
    )
    max_evaluations: int = Field(
        default=20, ge=2, description="Evaluations of the objective that one line search may take."
    )

    @model_validator(mode="after")
    def _in_order(self) -> ConjugateGradientOptions:
        check_order(self.sufficient_decrease, self.curvature)
        return self

    def build(self) -> ConjugateGradient:
        """Return the optimiser these options describe."""
        search = LineSearch(self.sufficient_decrease, self.curvature, self.max_evaluations, narrowest=0.01)
        return ConjugateGradient(search)


@dataclass(frozen=True)
class ConjugateGradient:
    """Polak-Ribiere+ with a line search."""

    line_search: LineSearch

    def init(self, parameters: Vector) -> State:
        """What `Known` knows; the next direction (P,), zeros: none; last move's length and step times slope, (1,) each."""
        zeros = np.zeros_like(parameters)
        return {**Known.nothing(parameters), "direction": zeros, "length": scalar(1.0), "change": scalar(0.0)}

    def step(self, parameters: Vector, state: State) -> Trials:
        """One line search along the conjugate direction; two when the first fails."""
        known = yield from look(parameters, state)
        here = known.evaluation
        if not known.is_finite:
            return StepResult(parameters, state, here)
        if known.exhausted:
            return (yield from unmoved(parameters, state, known))
        direction, accepted = state["direction"], None
        slope = dot(direction, here.gradient)
        if slope < 0.0 and not known.tired:
            first = float(state["change"][0]) / slope
            accepted = yield from descend(parameters, known, direction, first, self.line_search)
        if accepted is None:
            direction = -here.gradient
            first = steepest_step(here.gradient, float(state["length"][0]))
            accepted = yield from descend(parameters, known, direction, first, self.line_search)
        if accepted is None:
            kept = {name: state[name] for name in ("direction", "length", "change")}
            return (yield from unmoved(parameters, {**known.arrays(), **kept}, known))
        memory = {
            "direction": _next_direction(direction, here.gradient, accepted.evaluation.gradient),
            "length": scalar(norm(accepted.parameters - parameters)),
            "change": scalar(accepted.step * accepted.slope),
        }
        after = {**known.at(accepted.evaluation).arrays(), **memory}
        return StepResult(accepted.parameters, after, here, reached=accepted.evaluation)


def _next_direction(direction: Vector, before: Vector, gradient: Vector) -> Vector:
    """Return ``-g + beta d`` (zeros where the gradient is 0: nowhere to go)."""
    square = dot(before, before)
    beta = max(0.0, (dot(gradient, gradient) - dot(gradient, before)) / square) if square > 0.0 else 0.0
    following: Vector = scaled(beta, direction) - gradient
    return following
