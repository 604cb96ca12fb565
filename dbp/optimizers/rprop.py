"""iRprop+ (Igel & Huesken 2003): only the signs of the gradient count; each parameter has a step size of its own.

A step size grows by `increase` while its parameter's slope keeps its sign, and shrinks by `decrease` when the sign turns. Where it
turned *and the objective rose*, the parameter's last update is taken back (the "+", with the improvement the "i" stands for).
After a turn the slope counts as 0 once, so that the next step does not shrink again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from dbp.optimizers.options import MethodOptions
from dbp.optimizers.protocol import State, StepResult, Trials, Vector
from dbp.vectors import scalar


class RpropOptions(MethodOptions):
    """The `optimizer:` section of a job that uses Rprop."""

    name: Literal["rprop"] = Field(
        description="iRprop+ (Igel & Huesken 2003): a step size per parameter, from signs alone."
    )
    first_step: float = Field(
        default=0.1, gt=0, description="Every parameter's step size at the start (Riedmiller & Braun 1993)."
    )
    increase: float = Field(default=1.2, gt=1, description="Growth of a step size while the slope keeps its sign.")
    decrease: float = Field(default=0.5, gt=0, lt=1, description="What is left of a step size when the sign turns.")
    smallest_step: float = Field(
        default=1e-10, gt=0, description="No step size falls below it (a step size of 0 could not grow again)."
    )
    largest_step: float = Field(
        default=1.0,
        gt=0,
        description="No step size grows beyond it. 1 keeps units from saturating; the papers have 50, for other units.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> RpropOptions:
        if not self.smallest_step <= self.first_step <= self.largest_step:
            raise ValueError(
                f"first_step is {self.first_step}; expected from smallest_step ({self.smallest_step}) "
                f"to largest_step ({self.largest_step})"
            )
        return self

    def build(self) -> Rprop:
        """Return the optimiser these options describe."""
        return Rprop(self.first_step, self.increase, self.decrease, self.smallest_step, self.largest_step)


@dataclass(frozen=True)
class Rprop:
    """iRprop+ with the options of `RpropOptions`."""

    first_step: float = 0.1
    increase: float = 1.2
    decrease: float = 0.5
    smallest_step: float = 1e-10
    largest_step: float = 1.0

    def init(self, parameters: Vector) -> State:
        """Step sizes, the last slopes (0 after a turn) and the last updates, (P,) each; the last objective, (1,)."""
        zeros = np.zeros_like(parameters)
        sizes = np.full_like(parameters, self.first_step)
        return {"size": sizes, "slope": zeros, "update": zeros, "value": scalar(np.inf)}

    def step(self, parameters: Vector, state: State) -> Trials:
        """One update from one evaluation (the paper's Figure 4)."""
        evaluation = yield parameters
        kind = parameters.dtype.type
        gradient, size = evaluation.gradient, state["size"]
        # Signs, not the product of slopes: that could underflow to 0.
        turn = np.sign(gradient) * np.sign(state["slope"])
        grown = np.minimum(size * kind(self.increase), kind(self.largest_step))
        shrunk = np.maximum(size * kind(self.decrease), kind(self.smallest_step))
        size = np.where(turn > 0, grown, np.where(turn < 0, shrunk, size))
        rose = evaluation.value > float(state["value"][0])
        after_turn = -state["update"] if rose else np.zeros_like(gradient)
        update = np.where(turn < 0, after_turn, -np.sign(gradient) * size)
        slope = np.where(turn < 0, kind(0), gradient)
        remembered = {"size": size, "slope": slope, "update": update, "value": scalar(evaluation.value)}
        return StepResult(parameters + update, remembered, evaluation)
