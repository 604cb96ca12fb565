"""How columns become matrices and predictions become values again. It travels in the model file: all that predict needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from dbp.data.table import describe_missing
from dbp.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.columns import Label
    from dbp.data.statistics import ColumnSummary

Task = Literal["classification", "regression"]
Floats = NDArray[np.floating]


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
        constant = summary.minimum == summary.maximum
        # All values alike: their own value is the exact mean, so that they encode to exactly 0.
        means = np.where(constant, summary.minimum, summary.mean)
        with np.errstate(invalid="ignore"):
            deviation = np.sqrt(summary.m2 / summary.rows)
        scales = np.where(constant | (deviation == 0), 1.0, deviation)
        count = len(features)
        plain = np.arange(len(means)) < count
        keep = np.where(plain, standardize, standardize_target)
        means, scales = np.where(keep, means, 0.0), np.where(keep, scales, 1.0)
        flat = [name for name, same in zip(features, constant, strict=False) if same]
        warnings = tuple(f"column {name!r} has one value only, so nothing can be learnt from it" for name in flat)
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
            warnings=warnings,
        )

    def target_units(self) -> NDArray[np.float64]:
        """Return one unit of each encoded target in the target's own units (targets,); ones for classification."""
        return np.array(self.target_scale if self.task == "regression" else [1.0], dtype=np.float64)

    def encode_features(
        self, rows: object, dtype: np.dtype[np.floating], source: str = "table", first_row: int = 0
    ) -> Floats:
        """Return the inputs (rows, features), C-contiguous.

        `rows` is an Arrow table or batch, whose columns are found by name, or an array (rows, features) in the order of
        ``features``. `first_row` counts from 0 and is for messages. Raises DataError for missing columns, cells that are no
        finite number, and numbers too large for `dtype`.
        """
        wide = self._array(rows) if isinstance(rows, np.ndarray) else self._columns(rows, source, first_row)
        for index in np.flatnonzero(~np.isfinite(wide).all(axis=0))[:1]:
            place = int(np.flatnonzero(~np.isfinite(wide[:, index]))[0])
            self._refuse(source, index, first_row + place, wide[place, index], "a finite number")
        wide -= np.array(self.mean)
        wide /= np.array(self.scale)
        with np.errstate(over="ignore"):
            narrow = np.ascontiguousarray(wide, dtype=dtype)
        if not np.isfinite(narrow).all():
            place, index = (int(axis[0]) for axis in np.nonzero(~np.isfinite(narrow)))
            self._refuse(source, index, first_row + place, wide[place, index], f"a number that {dtype} can hold")
        return narrow

    def encode_targets(
        self, rows: pa.Table | pa.RecordBatch, dtype: np.dtype[np.floating], source: str = "table", first_row: int = 0
    ) -> Floats | NDArray[np.int32]:
        """Return targets (rows, targets), or class indices (rows,). DataError as for features, or for a class never seen."""
        if self.task == "classification":
            return self._class_indices(rows, source, first_row)
        from dbp.data.columns import bad_numbers, numbers

        wide = np.empty((rows.num_rows, len(self.targets)))
        for index, name in enumerate(self.targets):
            column = _column(rows, name, source)
            wide[:, index] = numbers(column)
            cells = bad_numbers(column, wide[:, index], np.arange(first_row, first_row + rows.num_rows))
            if cells is not None:
                raise DataError(f"{source}: {cells.describe(name)}")
        return np.ascontiguousarray((wide - self.target_mean) / self.target_scale, dtype=dtype)

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
        right &= len(lists["features"]) == len(lists["mean"]) == len(lists["scale"])
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

    def _columns(self, rows: object, source: str, first_row: int) -> NDArray[np.float64]:
        from dbp.data.columns import bad_numbers, is_number, numbers

        table = cast("pa.Table | pa.RecordBatch", rows)
        missing = [name for name in self.features if name not in table.schema.names]
        if missing:
            raise DataError(f"{source}: {describe_missing(missing, table.schema.names)}")
        wide = np.empty((table.num_rows, len(self.features)))
        places = np.arange(first_row, first_row + table.num_rows)
        for index, name in enumerate(self.features):
            column = table.column(name)
            if not is_number(column.type):
                raise DataError(f"{source}: column {name!r} holds {column.type}; expected numbers, as in training")
            wide[:, index] = numbers(column)
            cells = bad_numbers(column, wide[:, index], places)
            if cells is not None:
                raise DataError(f"{source}: {cells.describe(name)}")
        return wide

    def _class_indices(self, rows: pa.Table | pa.RecordBatch, source: str, first_row: int) -> NDArray[np.int32]:
        import pyarrow as pa
        import pyarrow.compute as pc

        from dbp.data.columns import BadCells, plain_labels

        (name,) = self.targets
        column = plain_labels(_column(rows, name, source))
        known = pa.array(self.classes)
        try:
            indices = pc.index_in(column.cast(known.type), value_set=known)
        except pa.ArrowException:
            raise DataError(
                f"{source}: column {name!r} holds {column.type}; expected classes such as {self.classes[0]!r}"
            ) from None
        if indices.null_count:
            place = int(np.flatnonzero(np.asarray(indices.is_null()))[0])
            shown = ", ".join(repr(value) for value in self.classes[:8]) + (", ..." if len(self.classes) > 8 else "")
            cells = BadCells(
                indices.null_count, first_row + place + 1, repr(column[place].as_py()), f"one of the classes {shown}"
            )
            raise DataError(f"{source}: {cells.describe(name)}")
        result: NDArray[np.int32] = indices.to_numpy(zero_copy_only=False).astype(np.int32)
        return result

    def _refuse(self, source: str, index: int, row: int, value: float, expected: str) -> None:
        from dbp.data.columns import BadCells

        cells = BadCells(1, row + 1, f"{value:g}", expected)
        raise DataError(f"{source}: {cells.describe(self.features[index])}")


_NAMES = ("features", "targets")
_NUMBERS = ("mean", "scale", "target_mean", "target_scale")


def _column(rows: pa.Table | pa.RecordBatch, name: str, source: str) -> pa.ChunkedArray:
    if name not in rows.schema.names:
        raise DataError(f"{source}: {describe_missing([name], rows.schema.names)}")
    return rows.column(name)
