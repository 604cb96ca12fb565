"""What methods that descend along lines share: what they know of the point they stand at, and one search along one direction.

The last evaluation stays in the state, so that the next step need not ask for it again. `Known.reference` is the lowest
objective seen, up to rounding: no point more than the rounding above it is ever accepted, so a search among noise cannot
drift upwards.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from dbp.optimizers.line_search import LineSearch, Sample
from dbp.optimizers.protocol import Evaluation, State, StepResult, Trials, Vector
from dbp.vectors import dot, moved, norm, scalar

CANNOT_IMPROVE = "the optimiser cannot improve any further"

_ROUNDING = 8.0  # units of the last place, in the job's precision, that two objectives may differ by and be equal
# Steps in a row that lower the objective by less than one unit of the last place. Ten were too few: on a plateau (the diabetes
# data, 8 hidden units) float32 ended 1.4 % above float64, which takes some 50 steps across it.
_PATIENCE = 30


@dataclass(frozen=True)
class Known:
    """What a method knows of the point it stands at."""

    evaluation: Evaluation  # its gradient is the method's own
    reference: float  # the lowest objective, updated where it fell by a unit of the last place at least
    idle: int  # steps since then

    @staticmethod
    def nothing(parameters: Vector) -> State:
        """Return the arrays of a state that knows nothing yet: gradient (P,), the others (1,) in float64."""
        zeros = np.zeros_like(parameters)
        return {
            "value": scalar(math.nan),
            "gradient": zeros,
            "rms": scalar(math.nan),
            "reference": scalar(math.inf),
            "idle": scalar(0),
        }

    def arrays(self) -> dict[str, Vector]:
        """Return it as the arrays that `nothing` lists."""
        return {
            "value": scalar(self.evaluation.value),
            "gradient": self.evaluation.gradient,
            "rms": scalar(self.evaluation.rms),
            "reference": scalar(self.reference),
            "idle": scalar(self.idle),
        }

    def at(self, evaluation: Evaluation) -> Known:
        """Return what is known after a step to the point of `evaluation`."""
        if evaluation.value < self.reference - self.noise / _ROUNDING:
            return Known(evaluation, evaluation.value, 0)
        return Known(evaluation, self.reference, self.idle + 1)

    @property
    def noise(self) -> float:
        """By how much objectives near the reference may differ by rounding alone; 0 before there is one."""
        epsilon = float(np.finfo(self.evaluation.gradient.dtype).eps)
        return _ROUNDING * epsilon * abs(self.reference) if math.isfinite(self.reference) else 0.0

    @property
    def ceiling(self) -> float:
        """No point above it is accepted."""
        return self.reference + self.noise

    @property
    def is_finite(self) -> bool:
        """Whether value and gradient are numbers all through."""
        return is_finite(self.evaluation)

    @property
    def tired(self) -> bool:
        """Whether half the patience is gone: time to forget and try steepest descent."""
        return self.idle == _PATIENCE // 2

    @property
    def exhausted(self) -> bool:
        """Whether too many steps in a row have not improved anything."""
        return self.idle >= _PATIENCE


def look(parameters: Vector, state: State) -> Generator[Vector, Evaluation, Known]:
    """Return what a state knows of the point it belongs to; ask for the objective there if it knows nothing yet."""
    value, reference, idle = (float(state[name][0]) for name in ("value", "reference", "idle"))
    if not math.isnan(value):
        return Known(Evaluation(value, state["gradient"], float(state["rms"][0])), reference, int(idle))
    evaluation = yield from ask(parameters)
    return Known(evaluation, evaluation.value, 0)


def ask(point: Vector) -> Generator[Vector, Evaluation, Evaluation]:
    """Ask for the objective at a point; return it with a gradient that may be kept."""
    evaluation = yield point
    return replace(evaluation, gradient=evaluation.gradient.copy())


def is_finite(evaluation: Evaluation) -> bool:
    """Whether value and gradient are numbers all through."""
    return math.isfinite(evaluation.value) and bool(np.isfinite(evaluation.gradient).all())


@dataclass(frozen=True)
class Accepted:
    """Where a line search ended."""

    parameters: Vector  # (P,)
    evaluation: Evaluation  # there
    step: float  # t
    slope: float  # phi'(0)


Line = Generator[Vector, Evaluation, Accepted | None]


def descend(parameters: Vector, known: Known, direction: Vector, first: float, search: LineSearch) -> Line:
    """Search along `direction` (P,) from a known point, trying the step `first` first; None if no step is good enough."""
    slope = dot(direction, known.evaluation.gradient)
    if not -math.inf < slope < 0.0 or not 0.0 < first < math.inf:
        return None
    start = Sample(0.0, known.evaluation.value, slope)
    steps = search.search(start, first, known.noise, known.ceiling)
    tried: dict[float, tuple[Vector, Evaluation]] = {}
    try:
        step = next(steps)
        while True:
            point = moved(parameters, step, direction)
            if np.array_equal(point, parameters):
                steps.close()
                return None  # the step is lost in the rounding of the parameters
            evaluation = yield from ask(point)
            tried[step] = (point, evaluation)
            step = steps.send(Sample(step, evaluation.value, dot(direction, evaluation.gradient)))
    except StopIteration as done:
        if done.value is None:
            return None
        point, evaluation = tried[done.value]
        return Accepted(point, evaluation, done.value, slope) if is_finite(evaluation) else None


def unmoved(parameters: Vector, state: State, known: Known) -> Trials:
    """End a step where it began, for good: nothing improves. Asks once more, because a step asks at least once."""
    yield parameters
    return StepResult(parameters, state, known.evaluation, CANNOT_IMPROVE)


def steepest_step(gradient: Vector, length: float) -> float:
    """Return the first step to try along the negative gradient: one that moves the parameters by `length`."""
    size = norm(gradient)
    return length / size if size > 0.0 else 0.0
