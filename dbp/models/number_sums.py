"""Predicted numbers: what a part of a table contributes, and what all parts together say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dbp.models.evaluation import NumberEvaluation, Points, TargetMeasures
from dbp.network.losses import error_signal, rates

POINTS = 20_000  # rows that are kept for pictures, of all targets together at most 50 times as many numbers
_POINT_NUMBERS = 1_000_000
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: multiples of it are spread evenly (Knuth, 6.4)

Floats = NDArray[np.float64]
Decode = Callable[[NDArray[np.floating]], Floats]


class NumberPart(NamedTuple):
    """A part's rows, added up, for each target (targets,); errors are predicted - true."""

    rows: int
    weight: float
    squared: Floats
    absolute: Floats
    error: Floats
    largest: Floats
    mean: Floats  # of the true values
    spread: Floats  # sum of their squared deviations from the mean
    low: Floats  # of the true values of rows that count
    high: Floats
    points: Points
    deviance: float  # half the Poisson deviance, of all targets; 0 for models of other losses


@dataclass(frozen=True)
class NumberMeter:
    """Makes parts, and adds them up. `units` (targets,) is one unit of each encoded target in its own units; `rows` is how many
    there are in all."""

    names: Sequence[str]
    units: Floats
    rows: int
    weighted: bool
    poisson: bool = False  # whether outputs are logarithms of rates

    def part(
        self,
        outputs: NDArray[np.floating],
        targets: NDArray[np.floating],
        weights: Floats | None,
        first_row: int,
        decode: Decode,
    ) -> NumberPart:
        """Add up rows of outputs and targets (rows, targets), both encoded, and weights (rows,)."""
        deviance = 0.0
        if self.poisson:
            net, known = (np.ascontiguousarray(each, np.float64) for each in (outputs, targets))
            deviance, outputs = error_signal("poisson", net, known, weights=weights).loss, rates(outputs)
        true = targets.astype(np.float64) * self.units
        errors = outputs.astype(np.float64) * self.units - true
        counted = np.ones((len(true), 1)) if weights is None else weights[:, None]
        weight = float(counted.sum())
        mean = _sum(true * counted) / weight if weight > 0 else np.zeros(len(self.units))
        counts = counted[:, 0] > 0
        return NumberPart(
            rows=len(true),
            weight=weight,
            squared=_sum(np.square(errors) * counted),
            absolute=_sum(np.abs(errors) * counted),
            error=_sum(errors * counted),
            largest=np.abs(errors[counts]).max(axis=0, initial=0.0),
            mean=mean,
            spread=_sum(np.square(true - mean) * counted),
            low=true[counts].min(axis=0, initial=math.inf),
            high=true[counts].max(axis=0, initial=-math.inf),
            points=self._points(outputs, targets, first_row, decode),
            deviance=deviance,
        )

    def _points(
        self, outputs: NDArray[np.floating], targets: NDArray[np.floating], first_row: int, decode: Decode
    ) -> Points:
        most = min(POINTS, max(_POINT_NUMBERS // len(self.units), 1))
        share = min(1.0, most / self.rows)
        numbers = np.arange(first_row, first_row + len(outputs), dtype=np.uint64)
        chosen = (numbers * _GOLDEN).astype(np.float64) < share * 2.0**64
        if share == 1.0:
            chosen[:] = True
        return Points(decode(targets[chosen]), decode(outputs[chosen]))

    def totals(self) -> NumberTotals:
        """Return sums without any rows."""
        return NumberTotals(self)


def _sum(values: Floats) -> Floats:
    """Return the sums of columns, each added pairwise: numpy does so along the last axis of an array."""
    sums: Floats = np.ascontiguousarray(values.T).sum(axis=1)
    return sums


class NumberTotals:
    """Sums over parts, added in the order of the rows."""

    def __init__(self, meter: NumberMeter) -> None:
        self._meter = meter
        zeros = np.zeros(len(meter.units))
        self.rows = 0
        self.weight = self._deviance = 0.0
        self._squared, self._absolute, self._error, self._largest = (zeros.copy() for _ in range(4))
        self._mean, self._spread = zeros.copy(), zeros.copy()
        self._low, self._high = zeros + math.inf, zeros - math.inf
        self._points: list[Points] = []

    def add(self, part: NumberPart) -> None:
        """Add the next part."""
        self.rows += part.rows
        self._deviance += part.deviance
        self._squared += part.squared
        self._absolute += part.absolute
        self._error += part.error
        self._largest = np.maximum(self._largest, part.largest)
        self._low, self._high = np.minimum(self._low, part.low), np.maximum(self._high, part.high)
        self._points.append(part.points)
        if part.weight > 0:
            # Means and spreads of two sets merge by Chan, Golub & LeVeque 1979: no cancellation.
            total = self.weight + part.weight
            shift = part.mean - self._mean
            self._spread += part.spread + np.square(shift) * (self.weight * part.weight / total)
            self._mean += shift * (part.weight / total)
            self.weight = total

    def result(self) -> NumberEvaluation:
        """Return the measures. There is at least one row, and the weights' sum is above 0."""
        total, names = self.weight, self._meter.names
        targets = tuple(self._target(k, name) for k, name in enumerate(names))
        explained = [each.r2 for each in targets if not math.isnan(each.r2)]
        cells = total * len(names)
        return NumberEvaluation(
            rows=self.rows,
            weight=total if self._meter.weighted else None,
            rms=math.sqrt(float(self._squared.sum()) / cells),
            mae=float(self._absolute.sum()) / cells,
            r2=sum(explained) / len(explained) if explained else math.nan,
            max_error=float(self._largest.max()),
            poisson_deviance=2 * self._deviance / cells if self._meter.poisson else None,
            targets=targets,
            points=Points(
                np.concatenate([each.true for each in self._points]),
                np.concatenate([each.predicted for each in self._points]),
            ),
        )

    def _target(self, k: int, name: str) -> TargetMeasures:
        total = self.weight
        varies = self._low[k] < self._high[k] and self._spread[k] > 0  # a mean of equal values may be off by a last bit
        return TargetMeasures(
            target=name,
            rms=math.sqrt(float(self._squared[k]) / total),
            mae=float(self._absolute[k]) / total,
            r2=1 - float(self._squared[k]) / float(self._spread[k]) if varies else math.nan,
            mean_error=float(self._error[k]) / total,
            max_error=float(self._largest[k]),
        )
