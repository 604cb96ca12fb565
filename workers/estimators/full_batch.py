"""Solvers that look at all rows in each iteration: L-BFGS and dbp's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dbp.optimizers.protocol import Evaluation, Optimizer, Vector
from dbp.optimizers.registry import METHODS
from dbp.workers.estimators.sums import Sums

# Smaller falls of the objective, as a share of its size (of 1 where it is smaller), end training: scipy's default for L-BFGS-B.
LEAST_FALL = 1e7 * float(np.finfo(np.float64).eps)


def method(solver: str) -> Optimizer:
    """Return a method of dbp with its own defaults."""
    return METHODS[solver](name=solver).build()  # type: ignore[call-arg]


Tell = Callable[[int, float], None]


@dataclass(frozen=True)
class Limits:
    """When to stop."""

    iterations: int
    tolerance: float  # of the gradient's largest element
    evaluations: int  # of the objective
    falls: bool  # whether each iteration of the method lowers the objective


@dataclass(frozen=True)
class Trained:
    """Where training ended."""

    parameters: Vector  # (P,)
    losses: list[float]  # after each iteration
    limit: str | None  # the parameter that ended it before it converged


def train(sums: Sums, optimizer: Optimizer, start: Vector, limits: Limits, tell: Tell) -> Trained:
    """Train from a start vector (P,) until nothing improves or a limit is met; `tell` hears number and loss of each iteration."""
    parameters, state, losses = start, optimizer.init(start), list[float]()

    def note(loss: float) -> None:
        losses.append(loss)
        tell(len(losses), loss)

    for done in range(limits.iterations):
        result = sums.step(optimizer, parameters, state)  # its evaluation is where it starts: after `done` iterations
        here = finite(result.evaluation, done)
        if done:
            note(here.value)
        if _flat(here, limits) or (limits.falls and _still(losses)):
            return Trained(parameters, losses or [here.value], None)
        parameters, state = result.parameters, result.state
        if result.finished is not None or sums.asked >= limits.evaluations:
            break
    note(finite(sums.evaluate(parameters), done + 1).value)
    if result.finished is not None:
        return Trained(parameters, losses, None)
    limit = "max_iter" if done + 1 == limits.iterations else "max_fun"
    return Trained(parameters, losses, limit)


def finite(evaluation: Evaluation, iteration: int) -> Evaluation:
    """Return an evaluation whose numbers are finite; ValueError says where they are not."""
    if not (np.isfinite(evaluation.value) and np.isfinite(evaluation.gradient).all()):
        raise ValueError(
            f"the loss became {evaluation.value} after {iteration} iterations, or its gradient infinite or NaN. Standardise the "
            "features and targets (StandardScaler), or take a smaller learning_rate_init, or another solver"
        )
    return evaluation


def _flat(here: Evaluation, limits: Limits) -> bool:
    return bool(np.abs(here.gradient).max() <= limits.tolerance)


def _still(losses: list[float]) -> bool:
    if len(losses) < 2:
        return False
    before, now = losses[-2:]
    return before - now <= LEAST_FALL * max(abs(before), abs(now), 1.0)
