"""Measures of a model's predictions, added up batch by batch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dbp.errors import DataError

Evaluation = dict[str, float]


class ModelMetrics:
    """Sums over rows, and the measures they make. `unit` (targets,) is one unit of each encoded target in its own units."""

    def __init__(self, classification: bool, outputs: int, unit: NDArray[np.float64]) -> None:
        self._classification = classification
        self._outputs = outputs
        self._unit = unit
        self._rows = self._right = 0
        self._loss = self._squared = self._absolute = 0.0
        self._per_target = np.zeros_like(unit)  # sum of squared errors
        self._mean = np.zeros_like(unit)  # of the targets
        self._spread = np.zeros_like(unit)  # sum of squared deviations from the mean

    def add_classes(self, rows: int, right: int, loss: float, squared_error: float) -> None:
        """Add a batch of classified rows."""
        self._rows += rows
        self._right += right
        self._loss += loss
        self._squared += squared_error

    def add_numbers(self, outputs: NDArray[np.floating], targets: NDArray[np.floating]) -> None:
        """Add a batch of outputs and targets (rows, targets), both encoded."""
        rows = len(targets)
        if rows == 0:
            return
        known = targets.astype(np.float64) * self._unit
        errors = outputs.astype(np.float64) * self._unit - known
        self._per_target += np.square(errors).sum(axis=0)
        self._absolute += float(np.abs(errors).sum())
        # Means and spreads of two sets merge by Chan, Golub & LeVeque 1979: no cancellation.
        mean = known.mean(axis=0)
        total = self._rows + rows
        shift = mean - self._mean
        self._spread += np.square(known - mean).sum(axis=0) + np.square(shift) * (self._rows * rows / total)
        self._mean += shift * (rows / total)
        self._rows = total

    def result(self, source: str, has_log_loss: bool) -> Evaluation:
        """Return the measures; DataError when there were no rows."""
        if self._rows == 0:
            raise DataError(f"{source}: no rows; expected at least one to evaluate")
        if self._classification:
            measures = {"rows": float(self._rows), "accuracy": self._right / self._rows}
            if has_log_loss:
                measures["log_loss"] = self._loss / self._rows
            return {**measures, "rms": math.sqrt(self._squared / self._rows / self._outputs)}
        cells = self._rows * len(self._unit)
        explained = [1 - e / s for e, s in zip(self._per_target, self._spread, strict=True) if s > 0]
        return {
            "rows": float(self._rows),
            "rms": math.sqrt(float(self._per_target.sum()) / cells),
            "mae": self._absolute / cells,
            "r2": float(np.mean(explained)) if explained else math.nan,
        }
