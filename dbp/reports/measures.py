"""From arrays to what a page shows of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dbp.data.encoding import Encoding
from dbp.models.model import Model
from dbp.network.backprop import predicted_labels
from dbp.network.losses import rates
from dbp.reports.facts import Confusion, LabelCounts, Outcome, Residuals

Array = NDArray[np.floating]


def chosen_steps(steps: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the steps, evenly chosen, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)]


def outcome(model: Model, inputs: Array, targets: Array | NDArray[np.int32], of: int) -> Outcome:
    """Return how the model does on encoded rows: class indices (rows,) or targets (rows, targets), `of` as many there are."""
    predictions = model.network.forward(model.parameters, inputs)
    encoding = model.encoding
    if encoding.task == "classification":
        return Outcome(len(inputs), of, confusion=_confusion(model, predictions, targets.astype(np.int64)))
    if encoding.task == "multilabel":
        return Outcome(len(inputs), of, labels=_labels(encoding, predicted_labels(predictions), targets > 0.5))
    return Outcome(
        len(inputs), of, residuals=_residuals(encoding, _values(model, predictions), targets.astype(np.float64))
    )


def _confusion(model: Model, predictions: Array, known: NDArray[np.int64]) -> Confusion:
    classes = model.encoding.classes
    places = {value: place for place, value in enumerate(classes)}
    predicted = np.array([places[value] for value in model.predictions(predictions).tolist()], dtype=np.int64)
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (known, predicted), 1)
    return Confusion(tuple(classes), counts)


def _values(model: Model, outputs: Array) -> Array:
    return rates(outputs) if model.loss == "poisson" else outputs


def _labels(encoding: Encoding, predicted: NDArray[np.bool_], known: NDArray[np.bool_]) -> tuple[LabelCounts, ...]:
    names = zip(encoding.targets, encoding.labels, strict=True)
    counts = (each.sum(axis=0).tolist() for each in (known, predicted, known & predicted))
    rows = zip(names, *counts, strict=True)
    return tuple(LabelCounts(name, pair[1], *numbers) for (name, pair), *numbers in rows)


def _residuals(encoding: Encoding, predictions: Array, known: NDArray[np.float64]) -> tuple[Residuals, ...]:
    decoded, real = encoding.decode(predictions), encoding.decode(known)
    return tuple(Residuals(name, real[:, place], decoded[:, place]) for place, name in enumerate(encoding.targets))
