"""L-BFGS (Liu & Nocedal 1989; Nocedal & Wright 2006, Algorithms 7.4 and 7.5): Newton's direction from the last few steps.

From pairs s = x' - x (the step) and y = g' - g (the change of the gradient) the two-loop recursion makes ``d = -H g``, H the
inverse Hessian that those pairs tell of, starting from ``gamma I`` with ``gamma = s.y / y.y`` of the newest pair. A line
search (strong Wolfe) along d follows; its trials start at 1, which is Newton's step. The first step ever goes along -g and
starts at length 1.

In float32 gradients near a minimum are rounding, and so is what pairs of them tell. When no step along d is good enough the
history is dropped and steepest descent tried; only if that fails too is the point final.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from dbp.optimizers.descent import Accepted, Known, descend, look, steepest_step, unmoved
from dbp.optimizers.line_search import LineSearch, check_order
from dbp.optimizers.options import MethodOptions
from dbp.optimizers.protocol import Evaluation, State, StepResult, Trials, Vector
from dbp.vectors import dot, norm, scalar, two_loop_recursion


class LbfgsOptions(MethodOptions):
    """The `optimizer:` section of a job that uses L-BFGS."""

    name: Literal["lbfgs"] = Field(
        description="L-BFGS (Liu & Nocedal 1989) with a line search for the strong Wolfe conditions."
    )
    memory: int = Field(default=10, ge=1, le=1000, description="How many of the last steps the direction is made from.")
    sufficient_decrease: float = Field(
        default=1e-3, gt=0, lt=0.5, description="mu: share of the promised decrease that a step must bring."
    )
    curvature: float = Field(
        default=0.9, gt=0, lt=1, description="eta: share of the slope that may be left after a step."
    )
    max_evaluations: int = Field(
        default=20, ge=2, description="Evaluations of the objective that one line search may take."
    )

    @model_validator(mode="after")
    def _in_order(self) -> LbfgsOptions:
        check_order(self.sufficient_decrease, self.curvature)
        return self

    def build(self) -> Lbfgs:
        """Return the optimiser these options describe."""
        return Lbfgs(self.memory, LineSearch(self.sufficient_decrease, self.curvature, self.max_evaluations))


class Pair(NamedTuple):
    """One step of the history."""

    move: Vector  # s (P,)
    change: Vector  # y (P,)


@dataclass(frozen=True)
class Lbfgs:
    """L-BFGS with the options of `LbfgsOptions`."""

    memory: int
    line_search: LineSearch

    def init(self, parameters: Vector) -> State:
        """What `Known` knows, and the length of the last move (1,). Steps add ``move.K`` and ``change.K`` (P,); 0 is the newest."""
        return {**Known.nothing(parameters), "length": scalar(1.0)}

    def step(self, parameters: Vector, state: State) -> Trials:
        """One direction and one line search along it; two when the first fails."""
        known = yield from look(parameters, state)
        here = known.evaluation
        pairs, length = [] if known.tired else _pairs(state), float(state["length"][0])
        if not known.is_finite:
            return StepResult(parameters, state, here)
        if known.exhausted:
            return (yield from unmoved(parameters, state, known))
        accepted = None
        if pairs:
            direction = two_loop_recursion(
                here.gradient, [pair.move for pair in pairs], [pair.change for pair in pairs]
            )
            accepted = yield from descend(parameters, known, direction, 1.0, self.line_search)
        if accepted is None:
            pairs = []
            first = steepest_step(here.gradient, length)
            accepted = yield from descend(parameters, known, -here.gradient, first, self.line_search)
        if accepted is None:
            return (yield from unmoved(parameters, {**known.arrays(), "length": scalar(length)}, known))
        pairs = self._remembered(pairs, parameters, here, accepted)
        after = _state(known.at(accepted.evaluation), pairs, parameters, accepted)
        return StepResult(accepted.parameters, after, here, reached=accepted.evaluation)

    def _remembered(self, pairs: list[Pair], parameters: Vector, here: Evaluation, accepted: Accepted) -> list[Pair]:
        """Return the history with the step in front, unless what it tells of the curvature is rounding."""
        pair = Pair(accepted.parameters - parameters, accepted.evaluation.gradient - here.gradient)
        least = float(np.finfo(parameters.dtype).eps) * -accepted.slope * accepted.step
        curvature, square = dot(pair.move, pair.change), dot(pair.change, pair.change)
        told = least < curvature < math.inf and 0.0 < square < math.inf
        return [pair, *pairs][: self.memory] if told else pairs


def _state(known: Known, pairs: Sequence[Pair], parameters: Vector, accepted: Accepted) -> State:
    arrays = {**known.arrays(), "length": scalar(norm(accepted.parameters - parameters))}
    for age, pair in enumerate(pairs):
        move, change = _names(age)
        arrays[move], arrays[change] = pair.move, pair.change
    return arrays


@cache
def _names(age: int) -> tuple[str, str]:
    """Return what a pair's move and change are called in the state."""
    return f"move.{age}", f"change.{age}"


def history_names(state: State) -> set[str]:
    """Return the names that the history in a state should have, by the number of its moves."""
    count = sum(name.startswith("move.") for name in state)
    return {f"{kind}.{age}" for kind in ("move", "change") for age in range(count)}


def _pairs(state: State) -> list[Pair]:
    pairs: list[Pair] = []
    while (names := _names(len(pairs)))[0] in state:
        pairs.append(Pair(state[names[0]], state[names[1]]))
    return pairs
