"""sgd and adam: epochs of small batches, drawn, counted and stopped as scikit-learn does, so that one seed gives one network.

What one call of `fit` or `partial_fit` leaves for the next is in `Memory`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import shuffle

from dbp.optimizers.adam import Adam
from dbp.optimizers.gradient_descent import GradientDescent
from dbp.optimizers.protocol import Optimizer, State, Vector
from dbp.optimizers.schedules import steps_done
from dbp.vectors import power
from dbp.workers.estimators.full_batch import finite
from dbp.workers.estimators.sums import Sums

SMALLEST_RATE = 1e-6  # an adaptive learning rate that is as small as this ends training


class Method(Protocol):
    """A method of dbp, with a learning rate that scikit-learn's rules change between epochs."""

    def optimizer(self, state: State) -> Optimizer:
        """Return the method for the step that follows a state."""
        ...

    def epoch_ends(self, seen: int) -> None:
        """Hear that an epoch is over, after so many rows in all."""
        ...

    def slows_down(self) -> bool:
        """Take a smaller learning rate if that is to be tried before training ends; False if not."""
        ...


@dataclass
class Sgd:
    """Gradient descent with momentum."""

    start_rate: float
    schedule: str  # constant, invscaling, adaptive
    momentum: float
    nesterov: bool
    power_t: float
    rate: float = field(init=False)

    def __post_init__(self) -> None:
        self.rate = self.start_rate

    def optimizer(self, state: State) -> Optimizer:
        """See `Method`."""
        return GradientDescent(self.rate, self.momentum, self.nesterov)

    def epoch_ends(self, seen: int) -> None:
        """See `Method`."""
        if self.schedule == "invscaling":
            self.rate = float(self.start_rate) / (seen + 1) ** self.power_t

    def slows_down(self) -> bool:
        """See `Method`."""
        if self.schedule != "adaptive" or self.rate <= SMALLEST_RATE:
            return False
        self.rate /= 5.0
        return True


@dataclass
class AdamMethod:
    """Adam; scikit-learn adds epsilon to the root of the mean square before that is corrected for its start from 0, dbp after."""

    rate: float
    beta_1: float
    beta_2: float
    epsilon: float

    def optimizer(self, state: State) -> Optimizer:
        """See `Method`."""
        share = 1.0 - power(self.beta_2, steps_done(state) + 1)
        return Adam(self.rate, self.beta_1, self.beta_2, self.epsilon / math.sqrt(share))

    def epoch_ends(self, seen: int) -> None:
        """See `Method`."""

    def slows_down(self) -> bool:
        """See `Method`."""
        return False


@dataclass
class Memory:
    """What an estimator remembers of its epochs."""

    early_stopping: bool
    best_parameters: Vector  # (P,), of the best validation score
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    best_score: float = -math.inf
    waited: int = 0  # epochs without improvement
    seen: int = 0  # rows, over all epochs

    def look(self, parameters: Vector, tolerance: float) -> None:
        """Count the epochs without improvement, of the loss or of the validation score."""
        if self.early_stopping:
            score = self.scores[-1]
            self.waited = self.waited + 1 if score < self.best_score + tolerance else 0
            if score > self.best_score:
                self.best_score, self.best_parameters = score, parameters.copy()
        else:
            loss = self.losses[-1]
            self.waited = self.waited + 1 if loss > self.best_loss - tolerance else 0
            self.best_loss = min(self.best_loss, loss)


@dataclass(frozen=True)
class Course:
    """How long to train, on which batches."""

    epochs: int
    batch_rows: int
    shuffled: bool
    tolerance: float
    patience: float  # epochs without improvement that are borne
    random: np.random.RandomState
    score: Callable[[Vector], float] | None  # of the rows held out
    say: Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """Where training ended."""

    parameters: Vector  # (P,)
    state: State
    epochs: int
    converged: bool


def train(sums: Sums, method: Method, start: Vector, state: State, memory: Memory, course: Course) -> Trained:
    """Train from a start vector (P,) until nothing improves or all epochs are done; `memory` is written to."""
    parameters, order, epoch, converged = start, np.arange(sums.rows, dtype=np.int64), 0, False
    try:
        while epoch < course.epochs and not converged:
            if course.shuffled:
                order = shuffle(order, random_state=course.random)
            parameters, state, loss = _epoch(sums, method, parameters, state, order, course.batch_rows)
            epoch += 1
            memory.losses.append(loss)
            memory.seen += sums.rows
            course.say(f"Iteration {epoch}, loss = {loss:.8f}")
            if course.score is not None:
                memory.scores.append(course.score(parameters))
                course.say(f"Validation score: {memory.scores[-1]:f}")
            memory.look(parameters, course.tolerance)
            method.epoch_ends(memory.seen)
            if memory.waited > course.patience:
                converged = not method.slows_down()
                memory.waited = memory.waited if converged else 0
                course.say(f"no improvement by {course.tolerance:g}: " + ("stopping" if converged else "slowing down"))
    except KeyboardInterrupt:
        warnings.warn(f"training was interrupted in epoch {epoch + 1}; the network is the one before it", stacklevel=2)
        converged = True
    if memory.early_stopping:
        parameters = memory.best_parameters
    return Trained(parameters, state, epoch, converged)


def _epoch(
    sums: Sums, method: Method, parameters: Vector, state: State, order: NDArray[np.int64], batch_rows: int
) -> tuple[Vector, State, float]:
    """Return parameters and state after one walk through all rows, and the mean of the batches' losses, weighted by their rows."""
    total = 0.0
    for begin in range(0, len(order), batch_rows):
        rows = order[begin : begin + batch_rows]
        if not sums.weight(rows) > 0:
            continue  # rows that weigh nothing ask for no step
        whole = len(rows) == len(order)
        result = sums.step(method.optimizer(state), parameters, state, None if whole else rows)
        total += finite(result.evaluation, len(rows)).value * len(rows)
        parameters, state = result.parameters, result.state
    return parameters, state, total / len(order)
