"""The `stopping` section of a job file: when training ends before `training.max_steps`, and which parameters are the result."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from dbp.section import Section

Keep: TypeAlias = Literal["best", "last"]


class StoppingOptions(Section):
    """When to stop before training.max_steps, and which parameters to keep. Changes no bit of a step."""

    target_loss: float | None = Field(
        default=None,
        description="Stop when the objective (in the unit of `loss` in metrics.jsonl: mean or sum over the rows of a step, "
        "penalty included) is at most this at the start of a step, or after one of a method that knows its end (lbfgs, "
        "conjugate_gradient, scaled_conjugate_gradient, levenberg_marquardt). null: off.",
    )
    gradient_tolerance: float | None = Field(
        default=None,
        gt=0,
        description="Stop when the Euclidean norm of the objective's gradient (`gradient_norm` in metrics.jsonl) is at most "
        "this where the objective is compared with `target_loss`. null: off.",
    )
    loss_change: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Stop when the objective hardly changes: over `loss_change_steps` steps, the difference between its highest "
        "and lowest value is at most this share of the largest magnitude among them. null: off.",
    )
    loss_change_steps: int = Field(
        default=10, ge=1, le=100_000, description="The steps over which `loss_change` looks at the objective."
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Stop after so many validations in a row (one every training.validate_every steps) without improvement of "
        "the validation loss. Needs data.validation. null: off.",
    )
    min_improvement: float = Field(
        default=0.0,
        ge=0,
        description="For `patience`: a validation loss counts as improved when it is lower by more than this than the last one "
        "that counted (same unit: mean error per validation row).",
    )
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Stop after the step in which this many seconds of training are used up: steps, validations and checkpoints "
        "of all attempts together, without starting workers and reading data. The one rule that depends on the machine: so does "
        "the number of steps, and the result with it. null: off.",
    )
    keep: Keep | None = Field(
        default=None,
        description="Which parameters the model file holds: `last`, or `best`, those with the lowest validation loss among the "
        "validations of training.validate_every and the last step. null: `best` with `patience`, else `last`.",
    )

    @property
    def keeps_best(self) -> bool:
        """Whether the model file holds the best parameters instead of the last."""
        return self.keep == "best" or (self.keep is None and self.patience is not None)
