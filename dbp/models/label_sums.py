"""Rows with several labels: what a part of a table contributes, and what all parts together say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dbp.models.evaluation import LabelEvaluation, LabelMeasures
from dbp.models.ranking import Ranking
from dbp.network.backprop import predicted_labels
from dbp.network.losses import error_signal, label_probabilities

if TYPE_CHECKING:
    from dbp.data.target_classes import LabelPair

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]


class LabelPart(NamedTuple):
    """A part's rows, added up. Arrays are (labels,) unless they are said to be others; a row counts as much as it weighs."""

    rows: int
    weight: float
    loss: Floats
    squared_error: float  # over all labels
    support: Floats  # rows that have the label
    predicted: Floats  # rows it was predicted for
    right: Floats  # rows both are true of
    exact: float  # rows with all labels right
    wrong: float  # wrong labels
    row_f1: float  # the sum of the F1 of rows that have a label or were given one
    row_f1_weight: float  # these rows
    scores: Floats  # (rows, labels)
    known: Marks  # (rows, labels)
    weights: Floats | None


@dataclass(frozen=True)
class LabelMeter:
    """Makes parts, and adds them up. `rows` is how many there are in all."""

    targets: Sequence[str]
    pairs: Sequence[LabelPair]
    rows: int
    weighted: bool

    def part(
        self, outputs: NDArray[np.floating], targets: NDArray[np.floating], weights: Floats | None, first_row: int
    ) -> LabelPart:
        """Add up rows of outputs (rows, labels), targets (rows, labels) of 0 and 1, and weights (rows,)."""
        counted = np.ones(len(targets)) if weights is None else weights
        known, predicted = targets > 0.5, predicted_labels(outputs)
        loss, squared_error = self._errors(outputs, targets, weights)
        right, either = known & predicted, known.sum(axis=1) + predicted.sum(axis=1)
        some = either > 0
        row_f1 = 2 * right.sum(axis=1)[some] / either[some]
        return LabelPart(
            rows=len(targets),
            weight=float(counted.sum()),
            loss=loss,
            squared_error=squared_error,
            support=_weighed(counted, known),
            predicted=_weighed(counted, predicted),
            right=_weighed(counted, right),
            exact=float(counted[(known == predicted).all(axis=1)].sum()),
            wrong=float((counted * (known != predicted).sum(axis=1)).sum()),
            row_f1=float((counted[some] * row_f1).sum()),
            row_f1_weight=float(counted[some].sum()),
            scores=label_probabilities(outputs),
            known=known,
            weights=weights,
        )

    def _errors(
        self, outputs: NDArray[np.floating], targets: NDArray[np.floating], weights: Floats | None
    ) -> tuple[Floats, float]:
        """Return the sum of each label's log loss (labels,), and of all squared errors."""
        loss, squared_error = np.zeros(len(self.targets)), 0.0
        for place in range(len(self.targets)):
            net, known = (np.ascontiguousarray(each[:, place : place + 1], np.float64) for each in (outputs, targets))
            sums = error_signal("binary_cross_entropy", net, known, weights=weights)
            loss[place], squared_error = sums.loss, squared_error + sums.squared_error
        return loss, squared_error

    def totals(self) -> LabelTotals:
        """Return sums without any rows."""
        return LabelTotals(self)


class LabelTotals:
    """Sums over parts, added in the order of the rows."""

    def __init__(self, meter: LabelMeter) -> None:
        self._meter = meter
        count = len(meter.targets)
        self.rows = 0
        self.weight = self._squared_error = self._exact = self._wrong = self._row_f1 = self._row_f1_weight = 0.0
        self._loss, self._support, self._predicted, self._right = (np.zeros(count) for _ in range(4))
        self._ranking = Ranking(count, meter.rows, log_odds=True, weighted=meter.weighted)

    def add(self, part: LabelPart) -> None:
        """Add the next part."""
        self.rows += part.rows
        self.weight += part.weight
        self._squared_error += part.squared_error
        self._exact += part.exact
        self._wrong += part.wrong
        self._row_f1 += part.row_f1
        self._row_f1_weight += part.row_f1_weight
        self._loss += part.loss
        self._support += part.support
        self._predicted += part.predicted
        self._right += part.right
        self._ranking.add(part.scores, part.known, part.weights)

    def result(self) -> LabelEvaluation:
        """Return the measures. There is at least one row, and the weights' sum is above 0."""
        meter, total, count = self._meter, self.weight, len(self._meter.targets)
        areas, off = self._ranking.areas()
        labels = tuple(self._label(place, area) for place, area in enumerate(areas))
        return LabelEvaluation(
            rows=self.rows,
            weight=total if meter.weighted else None,
            accuracy=self._exact / total,
            hamming_loss=self._wrong / total / count,
            f1_micro=_share(2 * self._right.sum(), self._support.sum() + self._predicted.sum()),
            f1_macro=_mean([each.f1 for each in labels]),
            f1_samples=_share(self._row_f1, self._row_f1_weight),
            log_loss=float(self._loss.sum()) / total / count,
            roc_auc=_mean(areas),
            roc_auc_error=off,
            rms=math.sqrt(self._squared_error / total / count),
            labels=labels,
        )

    def _label(self, place: int, area: float) -> LabelMeasures:
        right, support, predicted = (each[place].item() for each in (self._right, self._support, self._predicted))
        whole = float if self._meter.weighted else int
        return LabelMeasures(
            target=self._meter.targets[place],
            label=self._meter.pairs[place][1],
            support=whole(support),
            predicted=whole(predicted),
            precision=_share(right, predicted),
            recall=_share(right, support),
            f1=_share(2 * right, support + predicted),
            roc_auc=area,
            log_loss=self._loss[place].item() / self.weight,
        )


def _weighed(counted: Floats, marks: Marks) -> Floats:
    """Return the weights of marked rows, by column: no matrix product, whose bits would be the library's."""
    sums: Floats = np.where(marks, counted[:, None], 0.0).sum(axis=0)
    return sums


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def _mean(values: Sequence[float]) -> float:
    """Return the mean of those that have a value; NaN if none has."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
