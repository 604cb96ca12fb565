"""The one list of optimisers: a new method is its own file and one name in the union here.

`OptimizerOptions` is the type of a job file's `optimizer:` section: a union told apart by its `name`.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias, get_args

from pydantic import Field

from dbp.optimizers.adam import AdamOptions
from dbp.optimizers.adamw import AdamWOptions
from dbp.optimizers.conjugate_gradient import ConjugateGradientOptions
from dbp.optimizers.gradient_descent import GradientDescentOptions
from dbp.optimizers.lbfgs import LbfgsOptions
from dbp.optimizers.levenberg_marquardt import LevenbergMarquardtOptions
from dbp.optimizers.options import MethodOptions
from dbp.optimizers.rprop import RpropOptions
from dbp.optimizers.scaled_conjugate_gradient import ScaledConjugateGradientOptions

_Any: TypeAlias = (
    GradientDescentOptions
    | RpropOptions
    | AdamOptions
    | AdamWOptions
    | ConjugateGradientOptions
    | ScaledConjugateGradientOptions
    | LbfgsOptions
    | LevenbergMarquardtOptions
)

OptimizerOptions: TypeAlias = Annotated[_Any, Field(discriminator="name")]

METHODS: dict[str, type[MethodOptions]] = {
    get_args(options.model_fields["name"].annotation)[0]: options for options in get_args(_Any)
}
"""The options of each method, by its name in a job file."""
