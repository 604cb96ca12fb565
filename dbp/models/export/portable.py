"""A model in plain values: what every exporter starts from.

The network's inputs are those of its columns, one column after the other. An exporter knows how to build each kind of column, or
refuses the model with the column's name: nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

import dbp
from dbp.data.column_rules import CategoryRule, DateRule, NumberRule
from dbp.errors import InputError
from dbp.network.losses import CROSS_ENTROPIES

if TYPE_CHECKING:
    from dbp.data.columns import Label
    from dbp.data.encoding import Encoding
    from dbp.models.model import Model


@dataclass(frozen=True)
class NumberColumn:
    """(value - mean) / scale, computed in float64, then rounded to the network's precision. Inputs: it, and the indicator.

    A missing value is ``fill`` (None: refused). With ``indicator`` a second input is 1 where it is missing, else 0.
    """

    kind: ClassVar[str] = "number"
    name: str
    mean: tuple[float, ...]  # per input
    scale: tuple[float, ...]
    fill: float | None = None
    indicator: bool = False


@dataclass(frozen=True)
class DateColumn:
    """Parts of a date as numbers (see `dbp.data.dates`), then as `NumberColumn`; one indicator for all of them."""

    kind: ClassVar[str] = "date"
    name: str
    mean: tuple[float, ...]  # per input
    scale: tuple[float, ...]
    parts: tuple[str, ...]
    zoned: bool  # whether a date says its time zone; parts are those in UTC then
    fill: tuple[float, ...] | None = None
    indicator: bool = False


@dataclass(frozen=True)
class CategoryColumn:
    """One input per class, of which one is 1. ``places`` are their numbers for each of ``classes``; -1: all inputs are 0.

    ``unknown`` is the number for any other class, ``missing`` that for a missing one; None: refused.
    """

    kind: ClassVar[str] = "category"
    name: str
    classes: tuple[Label, ...]
    places: tuple[int, ...]
    width: int
    unknown: int | None
    missing: int | None

    @property
    def family(self) -> str:
        """What the classes are: text, whole or truth. Text where there is none."""
        first = self.classes[0] if self.classes else ""
        return "truth" if isinstance(first, bool) else "whole" if isinstance(first, int) else "text"


Column: TypeAlias = NumberColumn | DateColumn | CategoryColumn


def _columns(encoding: Encoding) -> Iterator[Column]:
    start = 0
    for name, rule in zip(encoding.features, encoding.column_rules, strict=True):
        stop = start + rule.width
        mean, scale = (tuple(map(float, values[start:stop])) for values in (encoding.mean, encoding.scale))
        start = stop
        if isinstance(rule, NumberRule):
            yield NumberColumn(name, mean, scale, rule.fill, rule.indicator)
        elif isinstance(rule, DateRule):
            yield DateColumn(name, mean, scale, rule.parts, rule.zoned, rule.fill, rule.indicator)
        else:
            yield _category(name, rule)


def _category(name: str, rule: CategoryRule) -> CategoryColumn:
    """Say in numbers of inputs what `CategoryRule.indices` makes of each class."""
    other = rule.width - 1 if rule.has_other else -1
    unknown = {"refuse": None, "other": other, "zeros": -1}[rule.unknown]
    missing = len(rule.classes) if rule.missing_class else other if rule.missing_rare else unknown
    return CategoryColumn(
        name,
        classes=(*rule.classes, *rule.rare),
        places=(*range(len(rule.classes)), *[other] * len(rule.rare)),
        width=rule.width,
        unknown=unknown,
        missing=missing if rule.takes_missing else None,
    )


@dataclass(frozen=True)
class Portable:
    """``layers`` are weights (inputs, outputs), bias (outputs,) and activation, in the precision of the model."""

    columns: tuple[Column, ...]
    task: str  # classification, multilabel or regression
    targets: tuple[str, ...]
    classes: tuple[Label, ...]
    target_mean: tuple[float, ...]
    target_scale: tuple[float, ...]
    loss: str
    layers: tuple[tuple[NDArray[np.floating], NDArray[np.floating], str], ...]
    name: str
    parameters_sha256: str
    labels: tuple[tuple[Label, Label], ...] = ()  # per target of a multilabel task: the classes for 0 and 1

    @classmethod
    def of(cls, model: Model) -> Portable:
        """Take a model apart."""
        encoding = model.encoding
        layers = zip(model.network.layers(model.parameters), model.network.activations, strict=True)
        return cls(
            columns=tuple(_columns(encoding)),
            task=encoding.task,
            targets=encoding.targets,
            classes=encoding.classes,
            target_mean=encoding.target_mean,
            target_scale=encoding.target_scale,
            loss=model.loss,
            layers=tuple((layer.weights, layer.bias, activation) for layer, activation in layers),
            name=str(model.about.get("name", "")),
            parameters_sha256=model.parameters_sha256,
            labels=encoding.labels,
        )

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The precision of the network."""
        return self.layers[0][0].dtype

    @property
    def has_probabilities(self) -> bool:
        """Whether outputs stand for class probabilities."""
        return self.loss in CROSS_ENTROPIES

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer, from the inputs to the outputs."""
        return (self.layers[0][0].shape[0], *(len(bias) for _, bias, _ in self.layers))

    def description(self) -> Mapping[str, Any]:
        """Return all but the parameters as plain JSON values."""
        return {
            "format": "dbp-export-1",
            "dbp": dbp.__version__,
            "model": self.name,
            "parameters_sha256": self.parameters_sha256,
            "precision": self.dtype.name,
            "sizes": list(self.sizes),
            "activations": [activation for _, _, activation in self.layers],
            "loss": self.loss,
            "task": self.task,
            "targets": list(self.targets),
            "classes": list(self.classes),
            "target_mean": list(self.target_mean),
            "target_scale": list(self.target_scale),
            "columns": [_described(column) for column in self.columns],
            **({"labels": [list(pair) for pair in self.labels]} if self.labels else {}),
        }


def _described(column: Column) -> dict[str, Any]:
    more = {"family": column.family} if isinstance(column, CategoryColumn) else {}
    return {"kind": column.kind, **asdict(column), **more}


def refuse(column: Column | str, reason: str, to: str) -> InputError:
    """Return the error for a column that a kind of file cannot express."""
    name = column if isinstance(column, str) else column.name
    return InputError(f"column {name!r}: {reason}, so the model cannot be exported to {to}")
