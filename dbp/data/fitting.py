"""From the summary of the training rows to each column's rule, and to the shift and scale of each input."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dbp.data.column_plan import ColumnOptions, FeaturePlan
from dbp.data.column_rules import ColumnRule, DateRule, NumberRule

if TYPE_CHECKING:
    from dbp.data.statistics import ColumnSummary


class FittedColumns:
    """What the training rows say of feature columns: makes each column's rule."""

    def __init__(self, summary: ColumnSummary, means: NDArray[np.float64]) -> None:
        self._summary, self._means = summary, means

    def rules(
        self, plans: Sequence[FeaturePlan], options: ColumnOptions, zoned: Collection[str]
    ) -> tuple[list[ColumnRule], list[str]]:
        """Return a rule per plan, and warnings."""
        rules: list[ColumnRule] = []
        warnings: list[str] = []
        first = 0  # of the plan's quantities
        for plan in plans:
            if plan.kind == "category":
                from dbp.data.categories import category_rule  # which imports Arrow

                found = self._summary.vocabularies[plan.name]
                rule, more = category_rule(plan, found, options, self._summary.rows)
                rules.append(rule)
                warnings += more
                continue
            fills = self._fills(plan, first)
            indicator = plan.indicator and bool(self._summary.counts[first] < self._summary.rows)
            if plan.kind == "date":
                rules.append(DateRule(plan.parts, plan.name in zoned, fills, indicator))
            else:
                rules.append(NumberRule(None if fills is None else fills[0], indicator))
            first += len(plan.quantities)
        return rules, warnings

    def _fills(self, plan: FeaturePlan, first: int) -> tuple[float, ...] | None:
        if plan.fill is None:
            return None
        names = [quantity.name for quantity in plan.quantities]
        if plan.fill == "zero":
            return (0.0,) * len(names)
        if plan.fill == "median":
            return tuple(self._summary.points[name].median() for name in names)
        return tuple(self._means[first : first + len(names)].tolist())


def per_input(
    rules: Sequence[ColumnRule], means: Sequence[float], scales: Sequence[float]
) -> list[tuple[float, float]]:
    """Return shift and scale of each input: those of the numbers in order, 0 and 1 for what is 0 or 1 itself."""
    numbers = iter(zip(means, scales, strict=True))
    inputs = []
    for rule in rules:
        inputs += [next(numbers) for _ in range(rule.scaled)]
        inputs += [(0.0, 1.0)] * (rule.width - rule.scaled)
    return inputs


def shifts_and_scales(summary: ColumnSummary) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return shift and scale of each column, and warnings about columns that cannot be standardised as others are."""
    low, high = summary.minimum, summary.maximum
    constant = low == high
    with np.errstate(invalid="ignore"):
        deviation = np.sqrt(summary.m2 / np.maximum(summary.counts, 1))
    # Squares of 1e160 and of 1e-170 are no numbers of float64 any more: such columns are scaled by their range.
    extreme = ~constant & ~(np.isfinite(deviation) & np.isfinite(summary.mean) & (deviation > 0))
    # All values alike: their own value is the exact mean, so that they encode to exactly 0.
    means = np.where(constant, low, np.where(extreme, low / 2 + high / 2, summary.mean))
    scales = np.where(constant, 1.0, np.where(extreme, high / 2 - low / 2, deviation))
    scales = np.where(scales == 0, 1.0, scales)  # half of the smallest number there is
    warnings = []
    for name, same, value, odd in zip(summary.names, constant, low, extreme, strict=True):
        if same:
            warnings.append(f"column {name!r} has one value only ({value:g}), so nothing can be learnt from it")
        elif odd:
            warnings.append(
                f"column {name!r} has numbers too large or too small to square; it is scaled by its range instead"
            )
    return means, scales, warnings
