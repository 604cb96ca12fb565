"""What an optimiser is: a method without memory, and a state of named arrays that is its memory.

The coordinator drives it as a conversation. `init` makes the state for a start vector. `step` is a generator: it *yields*
each point at which it wants the objective and is *sent* the Evaluation there; it *returns* the new point and state. A first-order
method asks once per step; a line search asks as often as it needs; a method with history keeps it in the state. Because
the state is nothing but named arrays, every optimiser can be checkpointed and resumed to the same bits.

    def step(self, parameters, state):
        evaluation = yield parameters            # the objective at the point asked for
        ...
        return StepResult(new_parameters, new_state, evaluation)

A step asks at least once. A method that keeps the last Evaluation in its state need not ask for the start point again.
Nothing an optimiser does may depend on time, on the number of workers or on memory addresses.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.floating]
State = Mapping[str, Vector]


@dataclass(frozen=True)
class Evaluation:
    """The objective at one point. ``gradient`` is borrowed: it is valid until the next evaluation is asked for."""

    value: float  # objective, with reduction and penalty applied
    gradient: Vector  # (P,), the job's precision
    rms: float = math.nan  # reported, never decided upon; with the rest, so that a method that remembers hands it on
    # (P, P) float64, where it was asked for: the Gauss-Newton matrix of the objective, penalty included; its upper triangle.
    # Borrowed, like the gradient.
    curvature: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class WithCurvature:
    """A point at which a method wants the curvature, too."""

    point: Vector  # (P,)


@dataclass(frozen=True)
class StepResult:
    """Where the step ended and what the optimiser remembers. ``evaluation`` is at the point the step started from."""

    parameters: Vector  # (P,)
    state: State
    evaluation: Evaluation
    # A sentence, when no step can improve any more: training ends after this one. The parameters are the best, up to rounding.
    finished: str | None = None
    reached: Evaluation | None = None  # at `parameters`, where the method knows it; borrowed as well


Trials = Generator[Vector | WithCurvature, Evaluation, StepResult]


class Optimizer(Protocol):
    """A training method. Instances hold hyper-parameters only; what changes is in the state."""

    def init(self, parameters: Vector) -> State:
        """Return the state before the first step, for a start vector of shape (P,)."""
        ...

    def step(self, parameters: Vector, state: State) -> Trials:
        """Do one step from `parameters` (P,): yield trial points, receive Evaluations, return a StepResult."""
        ...
