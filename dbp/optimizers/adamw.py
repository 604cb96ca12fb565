"""AdamW (Loshchilov & Hutter 2019, Algorithm 2): Adam whose weight decay does not go through the running means.

Adam's step, and beside it ``w <- w - h d w`` (h with its schedule, as the paper's eta, and as torch has it). The decay shrinks
*all* parameters, biases too: an optimiser sees one vector and no layers. `training.l2_penalty` is the penalty on weights alone.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from dbp.optimizers.adam import Adam
from dbp.optimizers.options import MethodOptions
from dbp.optimizers.schedules import CONSTANT, Schedule


class AdamWOptions(MethodOptions):
    """The `optimizer:` section of a job that uses AdamW."""

    takes_batches: ClassVar[bool] = True

    name: Literal["adamw"] = Field(
        description="AdamW (Loshchilov & Hutter 2019): Adam with weight decay apart from it."
    )
    learning_rate: float = Field(
        default=0.01,
        gt=0,
        description="h: about how far each parameter moves in a step. The papers' 0.001 suits small batches.",
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Share of the gradient's running mean that is kept.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="The same for the gradient's square.")
    epsilon: float = Field(
        default=1e-8, gt=0, description="Added to the root of the mean square, against division by 0."
    )
    weight_decay: float = Field(
        default=0.01,
        ge=0,
        description="d: every parameter, biases too, is shrunk by the learning rate times d in each step.",
    )
    schedule: Schedule = Field(default=CONSTANT, description="How the learning rate changes over the steps.")

    def build(self) -> Adam:
        """Return the optimiser these options describe."""
        return Adam(self.learning_rate, self.beta1, self.beta2, self.epsilon, self.schedule, self.weight_decay)
