"""Gradient descent with optional momentum.

The derivation's rule U1, ``w <- w - h dE/dw``; with momentum m the classical heavy-ball form (Polak 1964):
``v <- m v - h dE/dw``, ``w <- w + v``. m = 0 is U1 itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dbp.optimizers.protocol import State, StepResult, Trials, Vector


class GradientDescentOptions(BaseModel):
    """The `optimizer:` section of a job that uses gradient descent."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: Literal["gradient_descent"] = Field(description="Gradient descent, the derivation's rule.")
    learning_rate: float = Field(
        gt=0, description="h: how far to go along the negative gradient of the objective (of the mean, or of the sum)."
    )
    momentum: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the last update that is kept (0: plain gradient descent)."
    )

    def build(self) -> GradientDescent:
        """Return the optimiser these options describe."""
        return GradientDescent(self.learning_rate, self.momentum)


@dataclass(frozen=True)
class GradientDescent:
    """``v <- momentum v - learning_rate gradient``, ``parameters <- parameters + v``."""

    learning_rate: float
    momentum: float = 0.0

    def init(self, parameters: Vector) -> State:
        """No memory without momentum; with it, a velocity of zeros (P,)."""
        return {"velocity": np.zeros_like(parameters)} if self.momentum else {}

    def step(self, parameters: Vector, state: State) -> Trials:
        """One update from one evaluation (U1)."""
        evaluation = yield parameters
        # Scalars in the vector's own precision, so that float32 stays float32.
        rate = parameters.dtype.type(self.learning_rate)
        update = evaluation.gradient * -rate
        if not self.momentum:
            return StepResult(parameters + update, {}, evaluation)
        velocity = state["velocity"] * parameters.dtype.type(self.momentum) + update
        return StepResult(parameters + velocity, {"velocity": velocity}, evaluation)
