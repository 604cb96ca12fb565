"""What an evaluation found: three records, which are mappings of plain values, too. Formulas and sources: docs/models.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dbp.data.columns import Label


class Evaluation(Mapping[str, Any]):
    """Measures of a model on a table: attributes, and the same as a mapping of plain values, as `dbp evaluate --json` writes it.

    What a model or table does not have (a log loss without probabilities, a weight without weights) is None as an attribute and
    not in the mapping. NaN is a measure that has no value on these rows, such as the recall of a class that does not occur.
    """

    rows: int
    rms: float

    @cached_property
    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = _plain(self)
        return values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class ClassMeasures:
    """One class against all others."""

    label: Label
    support: float  # rows of the class, or the sum of their weights
    predicted: float  # rows that were taken for it, or the sum of their weights
    precision: float
    recall: float
    f1: float
    roc_auc: float


@dataclass(frozen=True)
class CalibrationBin:
    """Rows whose probability lies in [low, high), the last bin with its upper end: how sure, and how often right."""

    low: float
    high: float
    rows: float  # or the sum of their weights
    probability: float  # the mean
    share: float  # of rows for which it was true


@dataclass(frozen=True)
class Calibration:
    """A reliability curve. `of` is the class whose probability is meant; None: whatever class was predicted."""

    of: Label | None
    bins: tuple[CalibrationBin, ...]  # those with rows


@dataclass(frozen=True, eq=False)
class ClassEvaluation(Evaluation):
    """Measures of a classifier."""

    rows: int
    weight: float | None  # the sum of the weights, where rows have some
    accuracy: float
    balanced_accuracy: float
    f1_macro: float
    f1_weighted: float
    log_loss: float | None  # natural logarithm; None for a model without probabilities
    roc_auc: float  # of the second class of two, or the mean over classes, each against all others
    roc_auc_error: float | None  # None: exact; else it is off by at most this
    rms: float
    calibration_error: float | None
    classes: tuple[ClassMeasures, ...]  # in the order of the model's classes
    confusion: tuple[tuple[float, ...], ...]  # [true class][predicted class]: rows, or the sum of their weights
    calibration: tuple[Calibration, ...] | None


@dataclass(frozen=True)
class LabelMeasures:
    """One label of several that a row may have."""

    target: str  # its column
    label: Label  # the class of the column that says that a row has it
    support: float  # rows that have it, or the sum of their weights
    predicted: float  # rows it was predicted for, or the sum of their weights
    precision: float
    recall: float
    f1: float
    roc_auc: float
    log_loss: float


@dataclass(frozen=True, eq=False)
class LabelEvaluation(Evaluation):
    """Measures of a model of several labels per row."""

    rows: int
    weight: float | None  # the sum of the weights, where rows have some
    accuracy: float  # of rows with all labels right
    hamming_loss: float  # the share of labels that are wrong
    f1_micro: float  # of all labels of all rows together
    f1_macro: float  # the mean over labels
    f1_samples: float  # the mean over rows that have a label or were given one
    log_loss: float  # natural logarithm, the mean over labels
    roc_auc: float  # the mean over labels
    roc_auc_error: float | None  # None: exact; else it is off by at most this
    rms: float
    labels: tuple[LabelMeasures, ...]


@dataclass(frozen=True)
class TargetMeasures:
    """One target of a regression, in its own units."""

    target: str
    rms: float
    mae: float
    r2: float
    mean_error: float  # of predicted - true: the bias
    max_error: float


@dataclass(frozen=True)
class Points:
    """Rows drawn evenly over the table, for pictures: true and predicted values (rows, targets)."""

    true: NDArray[np.float64]
    predicted: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NumberEvaluation(Evaluation):
    """Measures of a regression. Over several targets: RMS and MAE over all their values, the largest error, the mean R2."""

    rows: int
    weight: float | None  # the sum of the weights, where rows have some
    rms: float
    mae: float
    r2: float
    max_error: float
    poisson_deviance: float | None  # the mean over rows and targets, of a model trained with poisson
    targets: tuple[TargetMeasures, ...]
    points: Points = field(metadata={"plain": False})


def _plain(value: Any) -> Any:  # Any: whatever a record holds
    if hasattr(value, "__dataclass_fields__"):
        held = {each.name: getattr(value, each.name) for each in fields(value) if each.metadata.get("plain", True)}
        optional = isinstance(value, Evaluation)
        return {name: _plain(item) for name, item in held.items() if not (optional and item is None)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
