"""What the options of all methods share: the `optimizer:` section of a job file is checked strictly and never changes."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """The options of one method. A subclass has a ``name`` (a Literal with its default left out) and a ``build()``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    takes_batches: ClassVar[bool] = False
    """Whether the method may see other rows in each step. One that compares sums between steps must not."""
