"""Adam (Kingma & Ba 2015, Algorithm 1): steps scaled by running means of the gradient and of its square.

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
    w <- w - h (m / (1 - b1^l)) / (sqrt(v / (1 - b2^l)) + eps)          l = 1, 2, ... counts the steps

With a weight decay d it is AdamW (`adamw.py`): ``w <- w - h d w`` beside that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from dbp.optimizers.options import MethodOptions
from dbp.optimizers.protocol import State, StepResult, Trials, Vector
from dbp.optimizers.schedules import CONSTANT, STEPS, Schedule, steps_done
from dbp.vectors import power, scalar, scaled


class AdamOptions(MethodOptions):
    """The `optimizer:` section of a job that uses Adam."""

    takes_batches: ClassVar[bool] = True

    name: Literal["adam"] = Field(description="Adam (Kingma & Ba 2015): steps scaled by the gradients' running means.")
    learning_rate: float = Field(
        default=0.01,
        gt=0,
        description="h: about how far each parameter moves in a step. The paper's 0.001 suits small batches.",
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Share of the gradient's running mean that is kept.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="The same for the gradient's square.")
    epsilon: float = Field(
        default=1e-8, gt=0, description="Added to the root of the mean square, against division by 0."
    )
    schedule: Schedule = Field(default=CONSTANT, description="How the learning rate changes over the steps.")

    def build(self) -> Adam:
        """Return the optimiser these options describe."""
        return Adam(self.learning_rate, self.beta1, self.beta2, self.epsilon, self.schedule)


@dataclass(frozen=True)
class Adam:
    """Adam, and AdamW where `weight_decay` is not 0."""

    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    schedule: Schedule = CONSTANT
    weight_decay: float = 0.0

    def init(self, parameters: Vector) -> State:
        """Running means of zeros, (P,) each, and the number of steps, (1,)."""
        return {"mean": np.zeros_like(parameters), "square": np.zeros_like(parameters), STEPS: scalar(0)}

    def step(self, parameters: Vector, state: State) -> Trials:
        """One update from one evaluation."""
        evaluation = yield parameters
        done = steps_done(state)
        rate = self.learning_rate * self.schedule.factor(done)
        gradient = evaluation.gradient
        mean = scaled(self.beta1, state["mean"]) + scaled(1.0 - self.beta1, gradient)
        square = scaled(self.beta2, state["square"]) + scaled(1.0 - self.beta2, np.square(gradient))
        # The corrections for the zeros that the means started from.
        mean_share, square_share = 1.0 - power(self.beta1, done + 1), 1.0 - power(self.beta2, done + 1)
        root = scaled(1.0 / math.sqrt(square_share), np.sqrt(square)) + parameters.dtype.type(self.epsilon)
        kept = scaled(1.0 - rate * self.weight_decay, parameters) if self.weight_decay else parameters
        new = kept - scaled(rate / mean_share, mean) / root
        return StepResult(new, {"mean": mean, "square": square, STEPS: scalar(done + 1)}, evaluation)
