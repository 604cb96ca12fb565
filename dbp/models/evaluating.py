"""From rows to measures, part by part.

A part is a fixed number of rows, counted from the table's first: how many depends on the model alone. What a part contributes is a
function of its rows, and parts are added in their order. So the measures depend neither on the batches in which a file is read nor
on who computed which part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from dbp.data.encoding import numbers_of
from dbp.errors import DataError
from dbp.models.class_sums import ClassMeter, ClassPart, ClassTotals
from dbp.models.evaluation import Evaluation
from dbp.models.label_sums import LabelMeter, LabelPart, LabelTotals
from dbp.models.number_sums import NumberMeter, NumberPart, NumberTotals

if TYPE_CHECKING:
    from dbp.models.model import Batch, Model

PART_ROWS = 65_536
PARTS = 4  # of a span
_PART_NUMBERS = 1 << 22  # outputs of a part: 32 MiB in float64

Part: TypeAlias = ClassPart | LabelPart | NumberPart


class _Rows(NamedTuple):
    outputs: NDArray[np.floating]
    targets: NDArray[Any]
    weights: NDArray[np.float64] | None

    def cut(self, start: int, stop: int | None) -> _Rows:
        rows = slice(start, stop)
        return _Rows(self.outputs[rows], self.targets[rows], None if self.weights is None else self.weights[rows])


@dataclass(frozen=True)
class Evaluator:
    """Measures a model on a table of `rows` rows; `weight` is the column that says how much each counts, None: all alike."""

    model: Model
    rows: int
    weight: str | None = None
    part_rows: int = field(init=False)  # of a part; it travels along

    def __post_init__(self) -> None:
        part_rows = min(PART_ROWS, max(_PART_NUMBERS // self.model.network.sizes[-1], 256))
        object.__setattr__(self, "part_rows", part_rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the table must have."""
        encoding = self.model.encoding
        return tuple(dict.fromkeys((*encoding.features, *encoding.targets, *filter(None, [self.weight]))))

    def parts(self, batches: Iterable[Batch]) -> Iterator[Part]:
        """Yield the parts of batches that follow each other, the first of which begins a part."""
        place: int | None = None
        held: list[_Rows] = []
        count = 0
        for batch in batches:
            place = batch.first_row if place is None else place
            rows, start = self._rows(batch), 0
            while start < len(rows.targets):
                piece = rows.cut(start, start + self.part_rows - count)
                held.append(piece)
                start, count = start + len(piece.targets), count + len(piece.targets)
                if count == self.part_rows:
                    yield self._part(held, place)
                    place, held, count = place + count, [], 0
        if held and place is not None:
            yield self._part(held, place)

    def result(self, parts: Iterable[Part], source: str) -> Evaluation:
        """Add up all parts, in the order of the rows. DataError when there were no rows, or none that counts."""
        totals = self._totals()
        for part in parts:
            totals.add(part)  # type: ignore[arg-type]  # the parts are its own meter's
        if totals.rows == 0:
            raise DataError(f"{source}: no rows; expected at least one to evaluate")
        if not totals.weight > 0:
            raise DataError(f"{source}: column {self.weight!r} is 0 in every row; expected a weight above 0")
        return totals.result()

    def _rows(self, batch: Batch) -> _Rows:
        model = self.model
        outputs = model.outputs(*batch)
        targets = model.encoding.encode_targets(batch.rows, model.parameters.dtype, batch.source, batch.first_row)
        return _Rows(outputs, targets, None if self.weight is None else self._weights(batch, self.weight))

    def _weights(self, batch: Batch, name: str) -> NDArray[np.float64]:
        places = np.arange(batch.first_row, batch.first_row + batch.rows.num_rows)
        weights = np.ascontiguousarray(numbers_of(batch.rows, [name], batch.source, places)[:, 0])
        if (weights < 0).any():
            place = int(np.argmax(weights < 0))
            raise DataError(
                f"{batch.source}: column {name!r}, row {int(places[place]) + 1} (counted from 1, header not counted): "
                f"{weights[place]:g}; expected a weight of at least 0"
            )
        return weights

    def _part(self, held: list[_Rows], first_row: int) -> Part:
        outputs, targets = (
            np.concatenate([each.outputs for each in held]),
            np.concatenate([each.targets for each in held]),
        )
        weights = np.concatenate([cast("NDArray[np.float64]", each.weights) for each in held]) if self.weight else None
        meter = self._meter
        if isinstance(meter, ClassMeter | LabelMeter):
            return meter.part(outputs, targets, weights, first_row)
        return meter.part(outputs, targets, weights, first_row, self.model.encoding.decode)

    def _totals(self) -> ClassTotals | LabelTotals | NumberTotals:
        return self._meter.totals()

    @cached_property
    def _meter(self) -> ClassMeter | LabelMeter | NumberMeter:
        encoding, weighted = self.model.encoding, self.weight is not None
        if encoding.task == "classification":
            outputs = self.model.network.sizes[-1]
            return ClassMeter(encoding.classes, outputs, self.model.loss, self.rows, weighted)
        if encoding.task == "multilabel":
            return LabelMeter(encoding.targets, encoding.labels, self.rows, weighted)
        return NumberMeter(encoding.targets, encoding.target_units(), self.rows, weighted, encoding.counts)


@dataclass(frozen=True)
class EvaluationTask:
    """Measures spans of a table; see `Task`."""

    evaluator: Evaluator

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Task`."""
        return self.evaluator.columns

    @property
    def span_rows(self) -> int:
        """See `Task`."""
        return PARTS * self.evaluator.part_rows

    @property
    def result_bytes(self) -> int:
        """See `Task`. Scores are the largest of it."""
        return self.span_rows * 8 * (self.evaluator.model.network.sizes[-1] + 2) + (1 << 20)

    def compute(self, batches: Iterable[Batch]) -> list[Part]:
        """See `Task`."""
        return list(self.evaluator.parts(batches))
