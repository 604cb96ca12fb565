"""The one list of methods that the shared tests run over: a new method is one entry here."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dbp.optimizers.protocol import Evaluation, WithCurvature
from dbp.optimizers.registry import METHODS


@dataclass(frozen=True)
class Case:
    """A method with its options, and in how many evaluations it must have solved the two classic problems.

    ``bowl`` is f = 1/2 sum c x^2 with curvatures 1 to 100 in 10 dimensions, to 1e-10 of its start; ``rosenbrock`` that of two
    dimensions, from (-1.2, 1), to f < 1e-6.
    """

    name: str
    bowl: int
    rosenbrock: int
    options: dict = field(default_factory=dict)
    rosenbrock_options: dict = field(default_factory=dict)  # where the bowl's do not suit
    descends: bool = False  # whether theory promises that no step raises the objective

    def build(self, **others):
        return METHODS[self.name].model_validate({"name": self.name, **self.options, **others}).build()

    @property
    def id(self) -> str:
        return "-".join([self.name, *(str(value) for value in self.options.values() if not isinstance(value, dict))])


GD = "gradient_descent"
CASES = [
    Case(GD, 500, 12_000, {"learning_rate": 0.019}, {"learning_rate": 0.0015}),
    Case(GD, 250, 1_700, {"learning_rate": 0.019, "momentum": 0.9}, {"learning_rate": 0.001}),
    Case(GD, 180, 1_700, {"learning_rate": 0.009, "momentum": 0.9, "nesterov": True}, {"learning_rate": 0.001}),
    Case("rprop", 60, 4_200),
    Case("adam", 210, 2_000, {"learning_rate": 0.05}),
    Case("adamw", 210, 2_000, {"learning_rate": 0.05, "weight_decay": 0.0}),
    Case("conjugate_gradient", 60, 80, descends=True),
    Case("scaled_conjugate_gradient", 50, 130, descends=True),
    Case("lbfgs", 46, 55, descends=True),
    Case("lbfgs", 80, 55, {"memory": 2}, descends=True),
    Case("levenberg_marquardt", 20, 60, descends=True),
]

CURVATURES = np.geomspace(1, 100, 10)


def bowl(point: np.ndarray) -> Evaluation:
    curvatures = CURVATURES.astype(point.dtype)
    value = 0.5 * float((curvatures.astype(np.float64) * point.astype(np.float64) ** 2).sum())
    return Evaluation(value, curvatures * point, curvature=np.diag(CURVATURES))


def rosenbrock(point: np.ndarray) -> Evaluation:
    x, y = point.astype(np.float64)
    gradient = [-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)]
    value = float(100 * (y - x * x) ** 2 + (1 - x) ** 2)
    jacobian = np.sqrt(2) * np.array([[-20 * x, 10], [-1, 0]])  # of the residuals, whose squares' half sum is the value
    return Evaluation(value, np.array(gradient, dtype=point.dtype), curvature=np.triu(jacobian.T @ jacobian))


def one_step(optimizer, point, state, function, asked=None):
    """One step, as the coordinator drives it. Values asked for are appended to `asked`. The gradient lent is spoilt afterwards."""
    trials = optimizer.step(point, state)
    at = next(trials)
    while True:
        curved = isinstance(at, WithCurvature)
        evaluation = function(at.point if curved else at)
        if asked is not None:
            asked.append(evaluation.value)
        curvature = None if evaluation.curvature is None or not curved else evaluation.curvature.copy()
        lent = Evaluation(evaluation.value, evaluation.gradient.copy(), evaluation.rms, curvature)
        try:
            at = trials.send(lent)
        except StopIteration as done:
            return done.value
        lent.gradient[:] = np.nan  # borrowed until the next evaluation is asked for
        if curvature is not None:
            curvature[:] = np.nan


def minimize(optimizer, start, function, evaluations: int, target: float = -np.inf):
    """Steps until a value below `target` was seen, the method has finished, or `evaluations` are spent.

    Returns point, all values asked for, and the values at the starts of the steps.
    """
    point, state, asked, starts = start, optimizer.init(start), [], []
    with np.errstate(all="ignore"):
        while len(asked) < evaluations and not (asked and min(asked) < target):
            result = one_step(optimizer, point, state, function, asked)
            starts.append(result.evaluation.value)
            point, state = result.parameters, result.state
            if result.finished:
                break
    return point, asked, starts
