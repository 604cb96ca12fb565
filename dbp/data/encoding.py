"""How columns become matrices and predictions become values again. It travels in the model file: all that predict needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from dbp.data.table import describe_missing, require_unique
from dbp.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.columns import Label
    from dbp.data.statistics import ColumnSummary

Task = Literal["classification", "regression"]
Floats = NDArray[np.floating]
Places = NDArray[np.int64]  # rows of a file, from 0


@dataclass(frozen=True)
class Encoding:
    """Columns by name, and how each is shifted and scaled: encoded = (value - mean) / scale, computed in float64, then rounded."""

    features: tuple[str, ...]
    mean: tuple[float, ...]  # per feature
    scale: tuple[float, ...]
    targets: tuple[str, ...]
    task: Task
    classes: tuple[Label, ...] = ()  # sorted; () for regression
    target_mean: tuple[float, ...] = ()  # per target; () for classification
    target_scale: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()

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
    ) -> Encoding:
        """Fit the encoding to the summary of the training rows."""
        means, scales, warnings = _fit(summary)
        count = len(features)
        plain = np.arange(len(means)) < count
        keep = np.where(plain, standardize, standardize_target)
        means, scales = np.where(keep, means, 0.0), np.where(keep, scales, 1.0)
        regression = task == "regression"
        return cls(
            features=tuple(features),
            mean=tuple(means[:count].tolist()),
            scale=tuple(scales[:count].tolist()),
            targets=tuple(targets),
            task=task,
            classes=() if regression else tuple(sorted(summary.labels)),
            target_mean=tuple(means[count:].tolist()) if regression else (),
            target_scale=tuple(scales[count:].tolist()) if regression else (),
            warnings=tuple(warnings),
        )

    def target_units(self) -> NDArray[np.float64]:
        """Return one unit of each encoded target in the target's own units (targets,); ones for classification."""
        return np.array(self.target_scale if self.task == "regression" else [1.0], dtype=np.float64)

    def encode_features(
        self, rows: object, dtype: np.dtype[np.floating], source: str = "table", row_numbers: int | Places = 0
    ) -> Floats:
        """Return the inputs (rows, features), C-contiguous.

        `rows` is an Arrow table or batch, whose columns are found by name, or an array (rows, features) in the order of
        ``features``. `row_numbers` are for messages: the first row's place in `source`, or every row's, from 0. Raises
        DataError for missing columns, cells that are no finite number, and numbers too large for `dtype`.
        """
        if isinstance(rows, np.ndarray):
            wide, places = self._array(rows), _places(row_numbers, len(rows))
            _refuse_infinite(wide, wide, self.features, source, places, "a finite number")
        else:
            table = cast("pa.Table | pa.RecordBatch", rows)
            places = _places(row_numbers, table.num_rows)
            wide = numbers_of(table, self.features, source, places)
        return _scaled(wide, self.mean, self.scale, dtype, self.features, source, places)

    def encode_targets(
        self,
        rows: pa.Table | pa.RecordBatch,
        dtype: np.dtype[np.floating],
        source: str = "table",
        row_numbers: int | Places = 0,
    ) -> Floats | NDArray[np.int32]:
        """Return targets (rows, targets), or class indices (rows,). DataError as for features, or for a class never seen."""
        places = _places(row_numbers, rows.num_rows)
        if self.task == "classification":
            return self._class_indices(rows, source, places)
        wide = numbers_of(rows, self.targets, source, places)
        return _scaled(wide, self.target_mean, self.target_scale, dtype, self.targets, source, places)

    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        """Return class values (rows,) for class indices, or outputs (rows, targets) in the targets' own units, in float64."""
        if self.task == "classification":
            values: NDArray[Any] = np.array(self.classes)[predictions]
            return values
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
        }

    @classmethod
    def from_json(cls, value: object) -> Encoding:
        """Return the encoding that `to_json` wrote. ValueError or KeyError if it is none."""
        if not isinstance(value, Mapping) or value.get("task") not in ("classification", "regression"):
            raise ValueError("no encoding of columns")
        lists = {name: tuple(value[name]) for name in (*_NAMES, *_NUMBERS, "classes")}
        right = all(isinstance(x, str) for name in _NAMES for x in lists[name])
        right &= all(isinstance(x, int | float) for name in _NUMBERS for x in lists[name])
        right &= all(isinstance(x, str | int | bool) for x in lists["classes"])
        right &= len(lists["features"]) == len(lists["mean"]) == len(lists["scale"]) > 0
        if value["task"] == "regression":
            right &= len(lists["targets"]) == len(lists["target_mean"]) == len(lists["target_scale"]) > 0
        else:
            right &= len(lists["targets"]) == 1 and len(set(lists["classes"])) == len(lists["classes"]) > 1
            right &= len({type(x) for x in lists["classes"]}) == 1
        right = right and all(abs(x) < 2**63 for x in lists["classes"] if isinstance(x, int))
        # Compared, not converted: a whole number of 400 digits has no float.
        right = right and all(abs(x) <= sys.float_info.max for name in _NUMBERS for x in lists[name])
        right = right and all(x > 0 for name in ("scale", "target_scale") for x in lists[name])
        if not right:
            raise ValueError("an encoding of columns that does not fit together")
        return cls(task=cast(Task, value["task"]), **lists)

    def _array(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        if rows.ndim != 2 or rows.shape[1] != len(self.features) or rows.dtype.kind not in "biuf":
            raise DataError(
                f"an array of shape {rows.shape} and type {rows.dtype}; expected (rows, {len(self.features)}) numbers, "
                f"the columns {', '.join(self.features[:8])}{', ...' if len(self.features) > 8 else ''} in this order"
            )
        return np.array(rows, dtype=np.float64)

    def _class_indices(self, rows: pa.Table | pa.RecordBatch, source: str, places: Places) -> NDArray[np.int32]:
        import pyarrow as pa
        import pyarrow.compute as pc

        from dbp.data.columns import BadCells, plain_labels

        (name,) = self.targets
        _require(rows, self.targets, source)
        column = plain_labels(rows.column(name))
        known = pa.array(self.classes)
        try:
            # Truth is compared as 0 and 1: the cast to it would take 2 for true.
            values, known = (
                (column.cast(pa.int64()), known.cast(pa.int64()))
                if pa.types.is_boolean(known.type)
                else (column.cast(known.type), known)
            )
            indices = pc.index_in(values, value_set=known)
        except pa.ArrowException:
            raise DataError(
                f"{source}: column {name!r} holds {column.type}; expected classes such as {self.classes[0]!r}"
            ) from None
        if indices.null_count:
            place = int(np.flatnonzero(np.asarray(indices.is_null()))[0])
            shown = ", ".join(repr(value) for value in self.classes[:8]) + (", ..." if len(self.classes) > 8 else "")
            cells = BadCells(
                indices.null_count, int(places[place]) + 1, repr(column[place].as_py()), f"one of the classes {shown}"
            )
            raise DataError(f"{source}: {cells.describe(name)}")
        result: NDArray[np.int32] = indices.to_numpy(zero_copy_only=False).astype(np.int32)
        return result


_NAMES = ("features", "targets")
_NUMBERS = ("mean", "scale", "target_mean", "target_scale")


def _fit(summary: ColumnSummary) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return shift and scale of each column, and warnings about columns that cannot be standardised as others are."""
    low, high = summary.minimum, summary.maximum
    constant = low == high
    with np.errstate(invalid="ignore"):
        deviation = np.sqrt(summary.m2 / summary.rows)
    # Squares of 1e160 and of 1e-170 are no numbers of float64 any more: such columns are scaled by their range.
    extreme = ~constant & ~(np.isfinite(deviation) & np.isfinite(summary.mean) & (deviation > 0))
    # All values alike: their own value is the exact mean, so that they encode to exactly 0.
    means = np.where(constant, low, np.where(extreme, low / 2 + high / 2, summary.mean))
    scales = np.where(constant, 1.0, np.where(extreme, high / 2 - low / 2, deviation))
    scales = np.where(scales == 0, 1.0, scales)  # half of the smallest number there is
    warnings = []
    for name, same, value, odd in zip(summary.names, constant, low, extreme, strict=True):
        if same:
            warnings.append(f"column {name!r} has one value only ({value:g}), so nothing can be learnt from it")
        elif odd:
            warnings.append(
                f"column {name!r} has numbers too large or too small to square; it is scaled by its range instead"
            )
    return means, scales, warnings


def _places(row_numbers: int | Places, rows: int) -> Places:
    return np.arange(row_numbers, row_numbers + rows) if isinstance(row_numbers, int) else row_numbers


def _require(table: pa.Table | pa.RecordBatch, names: Sequence[str], source: str) -> None:
    missing = [name for name in names if name not in table.schema.names]
    if missing:
        raise DataError(f"{source}: {describe_missing(missing, table.schema.names)}")
    require_unique(source, [name for name in table.schema.names if name in names])


def numbers_of(
    table: pa.Table | pa.RecordBatch, names: Sequence[str], source: str, places: Places
) -> NDArray[np.float64]:
    """Return columns of numbers (rows, names). DataError for columns and cells that cannot be used."""
    from dbp.data.columns import bad_numbers, is_number, numbers

    _require(table, names, source)
    wide = np.empty((table.num_rows, len(names)))
    for index, name in enumerate(names):
        column = table.column(name)
        if not is_number(column.type):
            raise DataError(f"{source}: column {name!r} holds {column.type}; expected numbers, as in training")
        wide[:, index] = numbers(column)
        cells = bad_numbers(column, wide[:, index], places)
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
