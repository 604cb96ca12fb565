"""A model in plain values: what every exporter starts from.

The network's inputs are those of its columns, one column after the other. An exporter knows how to build each kind of column, or
refuses the model with the column's name: nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

import dbp
from dbp.errors import InputError

if TYPE_CHECKING:
    from dbp.data.columns import Label
    from dbp.models.model import Model


@dataclass(frozen=True)
class NumberColumn:
    """One input: (value - mean) / scale, computed in float64, then rounded to the network's precision."""

    kind: ClassVar[str] = "number"
    name: str
    mean: float
    scale: float

    @property
    def width(self) -> int:
        """How many inputs it becomes."""
        return 1


Column: TypeAlias = NumberColumn


@dataclass(frozen=True)
class Portable:
    """``layers`` are weights (inputs, outputs), bias (outputs,) and activation, in the precision of the model."""

    columns: tuple[Column, ...]
    task: str  # classification or regression
    targets: tuple[str, ...]
    classes: tuple[Label, ...]
    target_mean: tuple[float, ...]
    target_scale: tuple[float, ...]
    loss: str
    layers: tuple[tuple[NDArray[np.floating], NDArray[np.floating], str], ...]
    name: str
    parameters_sha256: str

    @classmethod
    def of(cls, model: Model) -> Portable:
        """Take a model apart."""
        encoding = model.encoding
        for name, rule in zip(encoding.features, encoding.column_rules, strict=True):
            if not rule.is_plain:
                raise InputError(f"column {name!r} is no plain number, so the model cannot be exported yet")
        columns = tuple(
            NumberColumn(name, float(mean), float(scale))
            for name, mean, scale in zip(encoding.features, encoding.mean, encoding.scale, strict=True)
        )
        layers = zip(model.network.layers(model.parameters), model.network.activations, strict=True)
        return cls(
            columns=columns,
            task=encoding.task,
            targets=encoding.targets,
            classes=encoding.classes,
            target_mean=encoding.target_mean,
            target_scale=encoding.target_scale,
            loss=model.loss,
            layers=tuple((layer.weights, layer.bias, activation) for layer, activation in layers),
            name=str(model.about.get("name", "")),
            parameters_sha256=model.parameters_sha256,
        )

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The precision of the network."""
        return self.layers[0][0].dtype

    @property
    def has_probabilities(self) -> bool:
        """Whether outputs stand for class probabilities."""
        return self.loss == "cross_entropy"

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
            "columns": [{"kind": column.kind, **asdict(column)} for column in self.columns],
        }


def refuse(column: Column | str, reason: str, to: str) -> InputError:
    """Return the error for a column that a kind of file cannot express."""
    name = column if isinstance(column, str) else column.name
    return InputError(f"column {name!r}: {reason}, so the model cannot be exported to {to}")
