"""Learning rates that change over the steps: h(l) = h * factor(l), a pure function of the number of steps done before.

    constant      1
    step          factor^floor(l / every)
    cosine        final + (1 - final) (1 + cos(pi min(l, steps) / steps)) / 2      (Loshchilov & Hutter 2017, without restarts)
    inverse_time  1 / (1 + decay l)                                                (Robbins & Monro 1951)

A method keeps l in its state, and only under a schedule that looks at it: a resumed run goes on where the schedule was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dbp.section import Section
from dbp.vectors import cosine_of_pi_times, power, scalar


class Constant(Section):
    """The learning rate stays as it is."""

    name: Literal["constant"] = Field(description="The learning rate stays as it is.")

    def factor(self, step: int) -> float:
        """Return 1, whatever the step."""
        return 1.0


class Step(Section):
    """The learning rate falls in stairs."""

    name: Literal["step"] = Field(description="The learning rate falls in stairs.")
    every: int = Field(ge=1, description="Steps from one stair to the next.")
    multiply_by: float = Field(
        default=0.1, gt=0, le=1, description="What the learning rate is multiplied by at each stair."
    )

    def factor(self, step: int) -> float:
        """Return ``factor^floor(step / every)``."""
        return power(self.multiply_by, step // self.every)


class Cosine(Section):
    """The learning rate falls along half a cosine (Loshchilov & Hutter 2017)."""

    name: Literal["cosine"] = Field(description="The learning rate falls along half a cosine wave, then stays.")
    steps: int = Field(ge=1, description="Steps from the full learning rate to the final one.")
    final: float = Field(default=0.0, ge=0, le=1, description="The share of the learning rate that is left at the end.")

    def factor(self, step: int) -> float:
        """Return 1 at step 0, `final` from `steps` on."""
        done = min(step, self.steps) / self.steps
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + cosine_of_pi_times(done))


class InverseTime(Section):
    """The learning rate falls as one over the steps (Robbins & Monro 1951)."""

    name: Literal["inverse_time"] = Field(description="The learning rate is divided by 1 + decay * steps done.")
    decay: float = Field(ge=0, description="How fast: after 1/decay steps half the learning rate is left.")

    def factor(self, step: int) -> float:
        """Return ``1 / (1 + decay step)``."""
        return 1.0 / (1.0 + self.decay * step)


Schedule: TypeAlias = Annotated[Constant | Step | Cosine | InverseTime, Field(discriminator="name")]
CONSTANT = Constant(name="constant")

STEPS = "steps"


def steps_done(state: Mapping[str, NDArray[np.floating]]) -> int:
    """Return how many steps a state has seen; 0 for one that does not count."""
    return int(state[STEPS][0]) if STEPS in state else 0


def counted(schedule: Schedule, steps: int) -> dict[str, NDArray[np.floating]]:
    """Return what a state keeps of the number of steps: nothing under a constant learning rate."""
    return {} if isinstance(schedule, Constant) else {STEPS: scalar(steps)}
