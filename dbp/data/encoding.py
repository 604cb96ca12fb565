"""How columns become matrices and predictions become values again. It travels in the model file: all that predict needs."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from dbp.data.column_plan import ColumnOptions, FeaturePlan
from dbp.data.column_rules import CategoryRule, ColumnRule, NumberRule, rule_from_json
from dbp.data.fitting import FittedColumns, per_input, shifts_and_scales
from dbp.data.table import describe_missing, require_unique
from dbp.data.target_classes import LabelPair, class_places, label_pair
from dbp.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.columns import Label
    from dbp.data.statistics import ColumnSummary

Task = Literal["classification", "multilabel", "regression"]
Floats = NDArray[np.floating]
Places = NDArray[np.int64]  # rows of a file, from 0


@dataclass(frozen=True)
class Encoding:
    """Columns by name, the inputs that each becomes, and how each input is shifted and scaled: encoded = (value - mean) / scale,
    computed in float64, then rounded."""

    features: tuple[str, ...]
    mean: tuple[float, ...]  # per input; without `rules`, each feature is one
    scale: tuple[float, ...]
    targets: tuple[str, ...]
    task: Task
    classes: tuple[Label, ...] = ()  # of a classification, sorted
    target_mean: tuple[float, ...] = ()  # per target of a regression
    target_scale: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    rules: tuple[ColumnRule, ...] = ()  # per feature; (): each is a number, and none may be missing
    labels: tuple[LabelPair, ...] = ()  # per target of a multilabel task: the classes for which an output is 0 and 1
    counts: bool = False  # whether the targets of a regression are counts or rates: 0 or more, and taken as they are

    @property
    def width(self) -> int:
        """The number of inputs that the features become."""
        return len(self.mean)

    @property
    def column_rules(self) -> tuple[ColumnRule, ...]:
        """One rule per feature, also where all are plain numbers."""
        return self.rules or (NumberRule(),) * len(self.features)

    @property
    def input_names(self) -> tuple[str, ...]:
        """What the inputs are called, in order: a column's name, or that and what the input says of it."""
        pairs = zip(self.features, self.column_rules, strict=True)
        return tuple(word for name, rule in pairs for word in rule.input_names(name))

    @classmethod
    def from_summary(
        cls,
        summary: ColumnSummary,
        *,
        features: Sequence[str],
        targets: Sequence[str],
        task: Task,
        standardize: bool,
        standardize_target: bool,
        counts: bool = False,
        plans: Sequence[FeaturePlan] = (),
        options: ColumnOptions | None = None,
        zoned: Collection[str] = (),
    ) -> Encoding:
        """Fit the encoding to the summary of the training rows; without `plans` every feature is a number.

        `zoned` are the date columns that have a time zone.
        """
        means, scales, warnings = shifts_and_scales(summary)
        regression = task == "regression"
        count = len(means) - (len(targets) if regression else 0)
        plain = np.arange(len(means)) < count
        keep = np.where(plain, standardize, standardize_target)
        fitted = FittedColumns(summary, means)
        means, scales = np.where(keep, means, 0.0), np.where(keep, scales, 1.0)
        rules, more = fitted.rules(plans or [FeaturePlan(name) for name in features], options or ColumnOptions(), zoned)
        inputs = per_input(rules, means[:count].tolist(), scales[:count].tolist())
        return cls(
            features=tuple(features),
            mean=tuple(mean for mean, _ in inputs),
            scale=tuple(scale for _, scale in inputs),
            targets=tuple(targets),
            task=task,
            classes=tuple(sorted(summary.labels)) if task == "classification" else (),
            target_mean=tuple(means[count:].tolist()) if regression else (),
            target_scale=tuple(scales[count:].tolist()) if regression else (),
            warnings=(*warnings, *more),
            rules=() if all(rule.is_plain for rule in rules) else tuple(rules),
            labels=tuple(label_pair(summary.labels_of[name]) for name in targets) if task == "multilabel" else (),
            counts=counts,
        )

    def target_units(self) -> NDArray[np.float64]:
        """Return one unit of each encoded target in the target's own units (targets,); ones for classes."""
        return np.array(self.target_scale if self.task == "regression" else [1.0], dtype=np.float64)

    def encode_features(
        self, rows: object, dtype: np.dtype[np.floating], source: str = "table", row_numbers: int | Places = 0
    ) -> Floats:
        """Return the inputs (rows, width), C-contiguous.

        `rows` is an Arrow table or batch, whose columns are found by name, or an array (rows, features) in the order of
        ``features`` where all of these are numbers. `row_numbers` are for messages: the first row's place in `source`, or every
        row's, from 0. Raises DataError for missing columns, cells and types that no rule allows, and numbers too large for `dtype`.
        """
        if isinstance(rows, np.ndarray):
            wide, places = self._array(rows), _places(row_numbers, len(rows))
            if not self.rules:
                _refuse_infinite(wide, wide, self.features, source, places, "a finite number")
        else:
            table = cast("pa.Table | pa.RecordBatch", rows)
            places = _places(row_numbers, table.num_rows)
            if self.rules:
                _require(table, self.features, source)
                columns = zip(self.features, self.rules, strict=True)
                raws = (_raw(rule, table.column(name), name, source, places) for name, rule in columns)
                return self._joined(raws, table.num_rows, dtype, source, places)
            wide = numbers_of(table, self.features, source, places)
        if self.rules:
            return self._joined(self._raws(wide, source, places), len(wide), dtype, source, places)
        return _scaled(wide, self.mean, self.scale, dtype, self.features, source, places)

    def _raws(self, wide: NDArray[np.float64], source: str, places: Places) -> Iterator[NDArray[np.float64]]:
        for index, rule in enumerate(cast("tuple[NumberRule, ...]", self.rules)):
            values = wide[:, index]
            seen = values if rule.fill is None else np.where(np.isnan(values), 0.0, values)
            _refuse_infinite(
                seen[:, None], seen[:, None], self.features[index : index + 1], source, places, "a finite number"
            )
            yield rule.filled(values)

    def _joined(
        self,
        raws: Iterable[NDArray[Any]],
        rows: int,
        dtype: np.dtype[np.floating],
        source: str,
        places: Places,
    ) -> Floats:
        """Return the inputs (rows, width) of the columns' raw ones, shifted and scaled: one column after another is in memory.

        Of a category, raw is the number of the input that is 1 (rows,), -1 for none.
        """
        inputs, start = np.empty((rows, self.width), dtype), 0
        for name, rule, raw in zip(self.features, self.rules, raws, strict=True):
            stop = start + rule.width
            if isinstance(rule, CategoryRule):
                inputs[:, start:stop] = 0
                known = np.flatnonzero(raw >= 0)
                inputs[known, start + raw[known]] = 1
            else:
                mean, scale, names = self.mean[start:stop], self.scale[start:stop], [name] * rule.width
                inputs[:, start:stop] = _scaled(raw, mean, scale, dtype, names, source, places)
            start = stop
        return inputs

    def expand(self, narrow: NDArray[Any], out: Floats) -> None:
        """Write the inputs of features that are kept in a narrow type (rows, features) to `out` (rows, features).

        The bits are those of `encode_features`. Pieces stay in the processor's cache.
        """
        mean, scale = np.array(self.mean), np.array(self.scale)
        rows = max(_PIECE // (8 * max(narrow.shape[1], 1)), 1)
        for start in range(0, len(narrow), rows):
            wide = narrow[start : start + rows].astype(np.float64)
            np.subtract(wide, mean, out=wide)
            np.divide(wide, scale, out=wide)
            out[start : start + rows] = wide

    def encode_targets(
        self,
        rows: pa.Table | pa.RecordBatch,
        dtype: np.dtype[np.floating],
        source: str = "table",
        row_numbers: int | Places = 0,
    ) -> Floats | NDArray[np.int32]:
        """Return targets (rows, targets), or class indices (rows,). DataError as for features, or for a class never seen.

        Of a multilabel task, targets are 0 and 1.
        """
        places = _places(row_numbers, rows.num_rows)
        if self.task != "regression":
            _require(rows, self.targets, source)
        if self.task == "classification":
            (name,) = self.targets
            return class_places(rows.column(name), name, self.classes, source, places)
        if self.task == "multilabel":
            known = np.empty((rows.num_rows, len(self.targets)), dtype)
            for place, (name, pair) in enumerate(zip(self.targets, self.labels, strict=True)):
                known[:, place] = class_places(rows.column(name), name, pair, source, places)
            return known
        wide = numbers_of(rows, self.targets, source, places, least=0.0 if self.counts else None)
        return _scaled(wide, self.target_mean, self.target_scale, dtype, self.targets, source, places)

    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        """Return class values (rows,) for class indices, or outputs (rows, targets) in the targets' own units, in float64.

        Of a multilabel task, class values (rows, targets) for whether each label is there; objects where types differ.
        """
        if self.task == "classification":
            values: NDArray[Any] = np.array(self.classes)[predictions]
            return values
        if self.task == "multilabel":
            columns = [np.array(pair)[predictions[:, place].astype(np.intp)] for place, pair in enumerate(self.labels)]
            alike = len({column.dtype.kind for column in columns}) == 1
            return np.column_stack(columns if alike else [column.astype(object) for column in columns])
        return predictions.astype(np.float64) * self.target_scale + self.target_mean

    def to_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "features": list(self.features),
            "mean": list(self.mean),
            "scale": list(self.scale),
            "targets": list(self.targets),
            "task": self.task,
            "classes": list(self.classes),
            "target_mean": list(self.target_mean),
            "target_scale": list(self.target_scale),
            **({"columns": [rule.to_json() for rule in self.rules]} if self.rules else {}),
            **({"labels": [list(pair) for pair in self.labels]} if self.labels else {}),
            **({"counts": True} if self.counts else {}),
        }

    @classmethod
    def from_json(cls, value: object) -> Encoding:
        """Return the encoding that `to_json` wrote. ValueError or KeyError if it is none."""
        if not isinstance(value, Mapping) or value.get("task") not in get_args(Task):
            raise ValueError("no encoding of columns")
        lists = {name: tuple(value[name]) for name in (*_NAMES, *_NUMBERS, "classes")}
        right = all(isinstance(x, str) for name in _NAMES for x in lists[name])
        right &= all(isinstance(x, int | float) for name in _NUMBERS for x in lists[name])
        rules = tuple(rule_from_json(rule) for rule in value.get("columns", ()))
        right &= len(lists["features"]) > 0 and (not rules or len(rules) == len(lists["features"]))
        width = sum(rule.width for rule in rules) if rules else len(lists["features"])
        right &= width == len(lists["mean"]) == len(lists["scale"])
        labels = tuple(tuple(pair) for pair in value.get("labels", ()))
        if value["task"] == "multilabel":
            right &= len(labels) == len(lists["targets"]) > 0 == len(lists["classes"])
            right &= all(_are_classes(pair) and len(pair) == 2 for pair in labels)
        elif value["task"] == "regression":
            right &= len(lists["targets"]) == len(lists["target_mean"]) == len(lists["target_scale"]) > 0
        else:
            right &= len(lists["targets"]) == 1 and len(lists["classes"]) > 1 and _are_classes(lists["classes"])
        right &= not labels or value["task"] == "multilabel"
        counts = value.get("counts", False)
        right &= counts is False or (counts is True and value["task"] == "regression")
        right = right and (not counts or (not any(lists["target_mean"]) and set(lists["target_scale"]) == {1}))
        # Compared, not converted: a whole number of 400 digits has no float.
        right = right and all(abs(x) <= sys.float_info.max for name in _NUMBERS for x in lists[name])
        right = right and all(x > 0 for name in ("scale", "target_scale") for x in lists[name])
        right = right and _leaves_truth_alone(rules, lists["mean"], lists["scale"])
        if not right:
            raise ValueError("an encoding of columns that does not fit together")
        pairs = cast("tuple[LabelPair, ...]", labels)
        return cls(task=cast(Task, value["task"]), rules=rules, labels=pairs, counts=bool(counts), **lists)

    def _array(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        others = [name for name, rule in zip(self.features, self.column_rules, strict=True) if rule.kind != "number"]
        if others:
            raise DataError(
                f"an array of shape {rows.shape}, but {', '.join(map(repr, others[:8]))}{', ...' if len(others) > 8 else ''} "
                "cannot be taken from an array of numbers (categories or dates); expected a table with the columns by name"
            )
        if rows.ndim != 2 or rows.shape[1] != len(self.features) or rows.dtype.kind not in "biuf":
            raise DataError(
                f"an array of shape {rows.shape} and type {rows.dtype}; expected (rows, {len(self.features)}) numbers, "
                f"the columns {', '.join(self.features[:8])}{', ...' if len(self.features) > 8 else ''} in this order"
            )
        return np.array(rows, dtype=np.float64)


def _raw(rule: ColumnRule, column: pa.Array | pa.ChunkedArray, name: str, source: str, places: Places) -> NDArray[Any]:
    if isinstance(rule, CategoryRule):
        return rule.indices(column, name, source, places)
    return rule.raw(column, name, source, places)


def _are_classes(values: Sequence[object]) -> bool:
    """Whether these are different class labels of one type."""
    right = all(isinstance(x, str | int | bool) for x in values) and len({type(x) for x in values}) == 1
    return right and len(set(values)) == len(values) and all(abs(x) < 2**63 for x in values if isinstance(x, int))


def _leaves_truth_alone(rules: Sequence[ColumnRule], means: Sequence[float], scales: Sequence[float]) -> bool:
    """Whether inputs that are 0 or 1 are neither shifted nor scaled."""
    start = 0
    for rule in rules:
        alone = slice(start + rule.scaled, start + rule.width)
        if any(means[alone]) or any(scale != 1 for scale in scales[alone]):
            return False
        start += rule.width
    return True


_PIECE = 256 << 10  # bytes of float64
_NAMES = ("features", "targets")
_NUMBERS = ("mean", "scale", "target_mean", "target_scale")


def _places(row_numbers: int | Places, rows: int) -> Places:
    return np.arange(row_numbers, row_numbers + rows) if isinstance(row_numbers, int) else row_numbers


def _require(table: pa.Table | pa.RecordBatch, names: Sequence[str], source: str) -> None:
    missing = [name for name in names if name not in table.schema.names]
    if missing:
        raise DataError(f"{source}: {describe_missing(missing, table.schema.names)}")
    require_unique(source, [name for name in table.schema.names if name in names])


def numbers_of(
    table: pa.Table | pa.RecordBatch, names: Sequence[str], source: str, places: Places, least: float | None = None
) -> NDArray[np.float64]:
    """Return columns of numbers (rows, names), of at least `least`. DataError for columns and cells that cannot be used."""
    from dbp.data.columns import bad_numbers, is_number, numbers

    _require(table, names, source)
    wide = np.empty((table.num_rows, len(names)))
    for index, name in enumerate(names):
        column = table.column(name)
        if not is_number(column.type):
            raise DataError(f"{source}: column {name!r} holds {column.type}; expected numbers, as in training")
        wide[:, index] = numbers(column)
        cells = bad_numbers(column, wide[:, index], places, least)
        if cells is not None:
            raise DataError(f"{source}: {cells.describe(name)}")
    return wide


def _scaled(
    wide: NDArray[np.float64],
    mean: Sequence[float],
    scale: Sequence[float],
    dtype: np.dtype[np.floating],
    names: Sequence[str],
    source: str,
    places: Places,
) -> Floats:
    with np.errstate(over="ignore"):
        scaled = (wide - np.array(mean)) / np.array(scale)
        narrow = np.ascontiguousarray(scaled, dtype=dtype)
    if not np.isfinite(narrow).all():
        _refuse_infinite(narrow, wide, names, source, places, f"a number that {np.dtype(dtype)} can hold")
    return narrow


def _refuse_infinite(
    values: Floats, seen: NDArray[np.float64], names: Sequence[str], source: str, places: Places, expected: str
) -> None:
    """Raise DataError for the first column with a value that is not finite, showing what was `seen` in its place."""
    from dbp.data.columns import BadCells

    finite = np.isfinite(values)
    for index in np.flatnonzero(~finite.all(axis=0)):
        bad = np.flatnonzero(~finite[:, index])
        cells = BadCells(len(bad), int(places[bad[0]]) + 1, f"{seen[bad[0], index]:g}", expected)
        raise DataError(f"{source}: {cells.describe(names[int(index)])}")
