"""The one list of optimisers: a new method is its own file and one name here.

`OptimizerOptions` is the type of a job file's `optimizer:` section: a union told apart by its `name`. It becomes a discriminated
union (``Annotated[A | B, Field(discriminator="name")]``) with the second method; pydantic refuses one of a single member.
"""

from __future__ import annotations

from dbp.optimizers.gradient_descent import GradientDescentOptions

OptimizerOptions = GradientDescentOptions

NAMES = ("gradient_descent",)
