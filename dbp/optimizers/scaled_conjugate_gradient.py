"""Scaled conjugate gradients (Moller 1993): conjugate directions without a line search.

The curvature along the direction p is measured from one more gradient, a short way along it, and a damping lambda (as in
Levenberg-Marquardt) makes it positive. The parabola so found says how far to go; the damping grows or shrinks with how well
the parabola foretold the change of the objective. With r = -g, the paper's steps 2 to 9 are

    s     = (g(w + sigma p / |p|) - g(w)) |p| / sigma        second-order information
    delta = p.s + lambda |p|^2                               made positive where it is not
    alpha = mu / delta,  mu = p.r                            the step
    Delta = (E(w) - E(w + alpha p)) / (mu^2 / (2 delta))     1 where the parabola is right; the step is taken if Delta >= 0
    beta  = (r'.r' - r'.r) / mu,  p' = r' + beta p           every P steps p' = r'

Here a step of dbp ends when a step of the method succeeds, so every step but the last lowers the objective. Differences of E
that are rounding are replaced by the trapezoid of the slopes, as in the line search (`line_search.py`).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from dbp.optimizers.descent import Known, ask, is_finite, look, unmoved
from dbp.optimizers.options import MethodOptions
from dbp.optimizers.protocol import Evaluation, State, StepResult, Trials, Vector
from dbp.vectors import dot, moved, norm, scalar, scaled

_TRIALS = 30  # failures in a row after which the direction is given up
_WORST = -1e3  # Delta is cut off there, so that one value that overflowed does not end all movement


class ScaledConjugateGradientOptions(MethodOptions):
    """The `optimizer:` section of a job that uses scaled conjugate gradients."""

    name: Literal["scaled_conjugate_gradient"] = Field(
        description="Scaled conjugate gradients (Moller 1993): no line search, two evaluations per step."
    )
    damping: float = Field(default=1e-6, gt=0, le=1, description="lambda at the start (the paper: at most 1e-6).")

    def build(self) -> ScaledConjugateGradient:
        """Return the optimiser these options describe."""
        return ScaledConjugateGradient(self.damping)


@dataclass(frozen=True)
class _Move:
    """A step that lowered the objective."""

    parameters: Vector
    evaluation: Evaluation
    damping: float  # for the next step


_Trial = Generator[Vector, Evaluation, _Move | None]


@dataclass(frozen=True)
class ScaledConjugateGradient:
    """Moller's method."""

    damping: float

    def init(self, parameters: Vector) -> State:
        """What `Known` knows; the next direction (P,), zeros: none; the damping and the steps since the last restart, (1,) each."""
        return {**Known.nothing(parameters), **_memory(np.zeros_like(parameters), self.damping, 0)}

    def step(self, parameters: Vector, state: State) -> Trials:
        """Try until a step lowers the objective: first along the direction, then along the negative gradient."""
        known = yield from look(parameters, state)
        here = known.evaluation
        if not known.is_finite:
            return StepResult(parameters, state, here)
        if known.exhausted:
            return (yield from unmoved(parameters, state, known))
        direction, age, move = state["direction"], int(state["age"][0]), None
        if dot(direction, here.gradient) < 0.0 and not known.tired:
            move = yield from self._try(parameters, known, direction, float(state["damping"][0]))
        if move is None:
            direction, age = -here.gradient, 0
            move = yield from self._try(parameters, known, direction, self.damping)
        if move is None:
            kept = _memory(state["direction"], float(state["damping"][0]), age)
            return (yield from unmoved(parameters, {**known.arrays(), **kept}, known))
        direction = _next_direction(direction, here.gradient, move.evaluation.gradient, age + 1)
        after = {**known.at(move.evaluation).arrays(), **_memory(direction, move.damping, (age + 1) % direction.size)}
        return StepResult(move.parameters, after, here, reached=move.evaluation)

    def _try(self, parameters: Vector, known: Known, direction: Vector, damping: float) -> _Trial:
        """Measure the curvature along `direction`, then raise the damping until a step lowers the objective; None if none does."""
        here = known.evaluation
        slope, square = dot(direction, here.gradient), dot(direction, direction)
        if not -math.inf < slope < 0.0 or not 0.0 < square < math.inf:
            return None
        distance = _short_way(parameters) / math.sqrt(square)
        ahead = yield moved(parameters, distance, direction)
        curvature = (dot(direction, ahead.gradient) - slope) / distance
        if not math.isfinite(curvature):
            curvature = 0.0
        for _ in range(_TRIALS):
            delta = curvature + damping * square
            if delta <= 0.0:  # the paper's step 4: the damping that turns delta into its opposite
                damping = 2.0 * (damping - delta / square)
                delta = curvature + damping * square
            foreseen = 0.5 * slope * slope / delta if 0.0 < delta < math.inf else 0.0
            if foreseen == 0.0:
                return None
            point = moved(parameters, -slope / delta, direction)
            if np.array_equal(point, parameters):
                return None
            evaluation = yield from ask(point)
            fall = _fall(known, evaluation, direction, slope, -slope / delta)
            ratio = fall / foreseen if is_finite(evaluation) else _WORST
            taken = ratio >= 0.0 and is_finite(evaluation)
            if ratio < 0.25:
                damping += delta * (1.0 - max(ratio, _WORST)) / square
            elif ratio >= 0.75:
                damping *= 0.25
            if taken:
                return _Move(point, evaluation, damping)
        return None


def _short_way(parameters: Vector) -> float:
    """sigma: how far off a second gradient is taken. Long enough for the precision, short enough for the curvature."""
    return math.sqrt(float(np.finfo(parameters.dtype).eps)) * max(1.0, norm(parameters) / math.sqrt(parameters.size))


def _fall(known: Known, there: Evaluation, direction: Vector, slope: float, step: float) -> float:
    """Return ``E(w) - E(w + step p)``; by the slopes where the difference is rounding. Below 0 above the known noise."""
    here = known.evaluation
    if there.value > known.ceiling:
        return min(here.value - there.value, -known.noise)
    if abs(there.value - here.value) <= known.noise:
        return -0.5 * step * (slope + dot(direction, there.gradient))
    return here.value - there.value


def _next_direction(direction: Vector, before: Vector, gradient: Vector, age: int) -> Vector:
    """Return ``r' + beta p``, or r' alone once per P steps."""
    if age >= direction.size:
        return -gradient
    beta = (dot(gradient, gradient) - dot(gradient, before)) / -dot(direction, before)  # a direction taken descends
    following: Vector = scaled(beta, direction) - gradient
    return following


def _memory(direction: Vector, damping: float, age: int) -> dict[str, Vector]:
    return {"direction": direction, "damping": scalar(damping), "age": scalar(age)}
