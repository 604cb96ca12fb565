"""Classified rows: what a part of a table contributes, and what all parts together say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dbp.models.evaluation import Calibration, CalibrationBin, ClassEvaluation, ClassMeasures
from dbp.models.ranking import Ranking
from dbp.network.backprop import predicted_classes
from dbp.network.losses import LossName, error_signal, probabilities

if TYPE_CHECKING:
    from dbp.data.columns import Label

BINS = 10  # of a calibration curve

Floats = NDArray[np.float64]


class ClassPart(NamedTuple):
    """A part's rows, added up. Cells of the confusion matrix are numbered row by row; a curve is weights, their products with the
    probability, and the weights of rows for which it was true, by bin."""

    rows: int
    weight: float
    loss: float
    squared_error: float
    cells: NDArray[np.int64]
    cell_weights: Floats
    curves: Floats  # (curves, 3, BINS); the predicted class's first, then each class's, or that of the second of two
    scores: Floats  # (rows, classes), or of the second of two (rows, 1)
    classes: NDArray[np.int32]
    weights: Floats | None


@dataclass(frozen=True)
class ClassMeter:
    """Makes parts, and adds them up. `rows` is how many there are in all."""

    labels: Sequence[Label]
    outputs: int
    loss: LossName
    rows: int
    weighted: bool

    @property
    def has_probabilities(self) -> bool:
        """Whether outputs are net inputs of a softmax or a logistic function."""
        return self.loss == "cross_entropy"

    def part(
        self, outputs: NDArray[np.floating], classes: NDArray[np.int32], weights: Floats | None, first_row: int
    ) -> ClassPart:
        """Add up rows of outputs (rows, N_out), classes (rows,) and weights (rows,)."""
        wide = np.ascontiguousarray(outputs, np.float64)
        sums = error_signal(self.loss, wide, classes, weights=weights)
        predicted = predicted_classes(outputs, logits=self.has_probabilities)
        cells, places = np.unique(classes.astype(np.int64) * len(self.labels) + predicted, return_inverse=True)
        curves = np.zeros((0, 3, BINS))
        scores = wide
        if self.has_probabilities:
            chances = probabilities(outputs)
            curves = self._curves(chances, classes, predicted, weights)
            scores = chances
        if len(self.labels) == 2:
            scores = scores[:, -1:]
        return ClassPart(
            rows=len(classes),
            weight=float(len(classes)) if weights is None else float(weights.sum()),
            loss=sums.loss,
            squared_error=sums.squared_error,
            cells=cells,
            cell_weights=np.bincount(places, weights, len(cells)).astype(np.float64),
            curves=curves,
            scores=scores,
            classes=classes,
            weights=weights,
        )

    def _curves(
        self, chances: Floats, classes: NDArray[np.int32], predicted: NDArray[np.intp], weights: Floats | None
    ) -> Floats:
        rows = np.arange(len(classes))
        curves = [_curve(chances[rows, predicted], predicted == classes, weights)]
        curves += [_curve(chances[:, k], classes == k, weights) for k in self.with_curves]
        return np.array(curves)

    @property
    def with_curves(self) -> Sequence[int]:
        """The classes that have a calibration curve of their own: of two, the second says it all."""
        return (1,) if len(self.labels) == 2 else range(len(self.labels))

    def totals(self) -> ClassTotals:
        """Return sums without any rows."""
        return ClassTotals(self)


def _curve(chance: Floats, true: NDArray[np.bool_], weights: Floats | None) -> Floats:
    places = np.minimum((chance * BINS).astype(np.intp), BINS - 1)
    counted = np.ones(len(chance)) if weights is None else weights
    return np.array([np.bincount(places, each, BINS) for each in (counted, counted * chance, counted * true)])


class ClassTotals:
    """Sums over parts, added in the order of the rows."""

    def __init__(self, meter: ClassMeter) -> None:
        self._meter = meter
        count = len(meter.labels)
        self.rows = 0
        self.weight = self._loss = self._squared_error = 0.0
        self._confusion = np.zeros(count * count)
        self._curves = np.zeros((1 + len(meter.with_curves) if meter.has_probabilities else 0, 3, BINS))
        self._ranking = Ranking(
            1 if count == 2 else count, meter.rows, log_odds=meter.has_probabilities, weighted=meter.weighted
        )

    def add(self, part: ClassPart) -> None:
        """Add the next part."""
        self.rows += part.rows
        self.weight += part.weight
        self._loss += part.loss
        self._squared_error += part.squared_error
        self._confusion[part.cells] += part.cell_weights
        self._curves += part.curves
        self._ranking.add(part.scores, part.classes, part.weights)

    def result(self) -> ClassEvaluation:
        """Return the measures. There is at least one row, and the weights' sum is above 0."""
        meter, total = self._meter, self.weight
        count = len(meter.labels)
        confusion = self._confusion.reshape(count, count)
        counted = confusion if meter.weighted else confusion.astype(np.int64)
        areas, off = self._ranking.areas()
        if count == 2:
            areas = areas * 2
        classes = tuple(
            _class_measures(label, counted, k, area)
            for k, (label, area) in enumerate(zip(meter.labels, areas, strict=True))
        )
        appearing = [each for each in classes if each.support or each.predicted]
        curves = self._calibration() if meter.has_probabilities else None
        return ClassEvaluation(
            rows=self.rows,
            weight=total if meter.weighted else None,
            accuracy=float(np.trace(confusion)) / total,
            balanced_accuracy=_mean(each.recall for each in classes),
            f1_macro=_mean(each.f1 for each in appearing),
            f1_weighted=sum(each.f1 * each.support for each in appearing) / total,
            log_loss=self._loss / total if meter.has_probabilities else None,
            roc_auc=areas[0] if count == 2 else _mean(areas),
            roc_auc_error=off,
            rms=math.sqrt(self._squared_error / total / meter.outputs),
            calibration_error=self._calibration_error() if meter.has_probabilities else None,
            classes=classes,
            confusion=tuple(map(tuple, counted.tolist())),
            calibration=curves,
        )

    def _calibration(self) -> tuple[Calibration, ...]:
        owners = (None, *(self._meter.labels[k] for k in self._meter.with_curves))
        return tuple(
            Calibration(
                owner,
                tuple(
                    CalibrationBin(
                        k / BINS,
                        (k + 1) / BINS,
                        float(n) if self._meter.weighted else int(n),
                        float(sure / n),
                        float(true / n),
                    )
                    for k, (n, sure, true) in enumerate(curve.T)
                    if n > 0
                ),
            )
            for owner, curve in zip(owners, self._curves, strict=True)
        )

    def _calibration_error(self) -> float:
        _, sure, true = self._curves[0]
        return float(np.abs(sure - true).sum()) / self.weight


def _class_measures(label: Label, confusion: NDArray[Any], k: int, area: float) -> ClassMeasures:
    right, support, predicted = (each.item() for each in (confusion[k, k], confusion[k].sum(), confusion[:, k].sum()))
    return ClassMeasures(
        label=label,
        support=support,
        predicted=predicted,
        precision=right / predicted if predicted else math.nan,
        recall=right / support if support else math.nan,
        f1=2 * right / (support + predicted) if support + predicted else math.nan,
        roc_auc=area,
    )


def _mean(values: Iterable[float]) -> float:
    """Return the mean of those that have a value; NaN if none has."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
