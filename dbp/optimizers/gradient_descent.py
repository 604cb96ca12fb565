"""Gradient descent with optional momentum, Nesterov's too, and schedules of the learning rate.

The derivation's rule U1, ``w <- w - h dE/dw``; with momentum m the classical heavy-ball form (Polak 1964):
``v <- m v - h dE/dw``, ``w <- w + v``. m = 0 is U1 itself. Nesterov's form (Nesterov 1983, as Sutskever et al. 2013 write it, with
w standing for their look-ahead point): the same v, but ``w <- w + m v - h dE/dw``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from dbp.optimizers.options import MethodOptions
from dbp.optimizers.protocol import State, StepResult, Trials, Vector
from dbp.optimizers.schedules import CONSTANT, Schedule, counted, steps_done


class GradientDescentOptions(MethodOptions):
    """The `optimizer:` section of a job that uses gradient descent."""

    takes_batches: ClassVar[bool] = True

    name: Literal["gradient_descent"] = Field(description="Gradient descent, the derivation's rule.")
    learning_rate: float = Field(
        gt=0,
        description="h: how far to go along the negative gradient of the objective (of the mean, or of the sum; at most 1 "
        "with `training.reduction: sum`).",
    )
    momentum: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the last update that is kept (0: plain gradient descent)."
    )
    nesterov: bool = Field(
        default=False, description="Nesterov's momentum: the gradient is taken where the momentum leads to."
    )
    schedule: Schedule = Field(default=CONSTANT, description="How the learning rate changes over the steps.")

    def build(self) -> GradientDescent:
        """Return the optimiser these options describe."""
        return GradientDescent(self.learning_rate, self.momentum, self.nesterov, self.schedule)


@dataclass(frozen=True)
class GradientDescent:
    """``v <- momentum v - learning_rate gradient``, ``parameters <- parameters + v``."""

    learning_rate: float
    momentum: float = 0.0
    nesterov: bool = False
    schedule: Schedule = CONSTANT

    def init(self, parameters: Vector) -> State:
        """No memory without momentum; with it, a velocity of zeros (P,). Under a schedule also the number of steps, (1,)."""
        state = {"velocity": np.zeros_like(parameters)} if self.momentum else {}
        return {**state, **counted(self.schedule, 0)}

    def step(self, parameters: Vector, state: State) -> Trials:
        """One update from one evaluation (U1)."""
        evaluation = yield parameters
        done = steps_done(state)
        kept = counted(self.schedule, done + 1)
        # Scalars in the vector's own precision, so that float32 stays float32.
        rate = parameters.dtype.type(self.learning_rate * self.schedule.factor(done))
        update = evaluation.gradient * -rate
        if not self.momentum:
            return StepResult(parameters + update, kept, evaluation)
        momentum = parameters.dtype.type(self.momentum)
        velocity = state["velocity"] * momentum + update
        move = velocity * momentum + update if self.nesterov else velocity
        return StepResult(parameters + move, {"velocity": velocity, **kept}, evaluation)
