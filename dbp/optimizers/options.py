"""What the options of all methods share: the `optimizer:` section of a job file is checked strictly and never changes."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from dbp.optimizers.protocol import Optimizer
from dbp.section import Section


class MethodOptions(Section):
    """The options of one method. A subclass has a ``name`` (a Literal) that job files know it by."""

    takes_batches: ClassVar[bool] = False
    """Whether the method may see other rows in each step. One that compares sums between steps must not."""

    needs_curvature: ClassVar[bool] = False
    """Whether the method asks for the Gauss-Newton matrix (`WithCurvature`), which the squared error of a small network has."""

    @abstractmethod
    def build(self) -> Optimizer:
        """Return the optimiser these options describe."""
