"""How one feature column becomes inputs, as learnt from the training rows: it travels in the model file.

A rule turns a column into raw inputs in float64; `Encoding` shifts and scales them. Inputs of classes and indicators are 0 or 1,
and are neither shifted nor scaled.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from dbp.data.column_plan import DatePart, Fill, Kind, Quantity, Unknown
from dbp.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.columns import Label

Places = NDArray[np.int64]
Raw = NDArray[np.float64]
_PARTS = get_args(DatePart)
_ANY_FILL: Fill = "zero"  # of a quantity whose missing values are filled here, whichever way


@dataclass(frozen=True)
class NumberRule:
    """One number. A missing one is `fill`; None: refused. `indicator`: a second input is 1 where it is missing, else 0."""

    fill: float | None = None
    indicator: bool = False
    kind: ClassVar[Kind] = "number"

    @property
    def width(self) -> int:
        """The number of inputs."""
        return 1 + self.indicator

    @property
    def scaled(self) -> int:
        """How many of them, the first ones, may be shifted and scaled."""
        return 1

    @property
    def is_plain(self) -> bool:
        """Whether the column is taken as it is."""
        return self == NumberRule()

    def raw(self, column: pa.Array | pa.ChunkedArray, name: str, source: str, places: Places) -> Raw:
        """Return the inputs (rows, width) of a column. DataError for cells and types that cannot be used."""
        from dbp.data.columns import is_number
        from dbp.data.statistics import values_of

        if self.fill is not None and _is_empty(column):
            return self.filled(np.full(len(column), np.nan))
        if not is_number(column.type):
            raise DataError(f"{source}: column {name!r} holds {column.type}; expected numbers, as in training")
        values, cells = values_of(column, Quantity(name, None, None if self.fill is None else _ANY_FILL), places)
        if cells is not None:
            raise DataError(f"{source}: {cells.describe(name)}")
        return self.filled(values)

    def filled(self, values: Raw) -> Raw:
        """Return the inputs (rows, width) of numbers (rows,), of which those that are NaN are missing."""
        if self.fill is None:
            return values[:, np.newaxis]
        return _filled(values[:, np.newaxis], [self.fill], self.indicator)

    def input_names(self, name: str) -> tuple[str, ...]:
        """Return what the inputs are called."""
        return (name, *([f"{name} is missing"] if self.indicator else []))

    def to_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {"kind": "number", "fill": self.fill, "indicator": self.indicator}


@dataclass(frozen=True)
class DateRule:
    """Parts of a date, in UTC where the column is `zoned`. Missing ones are `fill`, one number per part; None: refused."""

    parts: tuple[DatePart, ...]
    zoned: bool = False
    fill: tuple[float, ...] | None = None
    indicator: bool = False
    kind: ClassVar[Kind] = "date"

    @property
    def width(self) -> int:
        """The number of inputs."""
        return len(self.parts) + self.indicator

    @property
    def scaled(self) -> int:
        """How many of them, the first ones, may be shifted and scaled."""
        return len(self.parts)

    @property
    def is_plain(self) -> bool:
        """Whether the column is taken as it is."""
        return False

    def raw(self, column: pa.Array | pa.ChunkedArray, name: str, source: str, places: Places) -> Raw:
        """Return the inputs (rows, width) of a column. DataError for cells and types that cannot be used."""
        import pyarrow as pa

        from dbp.data.columns import BadCells, is_text
        from dbp.data.dates import date_parts, is_date, is_zoned

        if _is_empty(column):
            column = pa.nulls(len(column), pa.timestamp("us", "UTC" if self.zoned else None))
        if not is_date(column.type) or (not is_text(column.type) and is_zoned(column.type) != self.zoned):
            zone = "with a time zone" if self.zoned else "without a time zone"
            raise DataError(f"{source}: column {name!r} holds {column.type}; expected dates {zone}, as in training")
        values, cells = date_parts(column, self.parts, places, self.zoned)
        missing = np.flatnonzero(np.isnan(values[:, 0]))
        if cells is None and self.fill is None and len(missing):
            cells = BadCells(len(missing), int(places[missing[0]]) + 1, "missing", "a date")
        if cells is not None:
            raise DataError(f"{source}: {cells.describe(name)}")
        return values if self.fill is None else _filled(values, self.fill, self.indicator)

    def input_names(self, name: str) -> tuple[str, ...]:
        """Return what the inputs are called."""
        return (*(f"{name}.{part}" for part in self.parts), *([f"{name} is missing"] if self.indicator else []))

    def to_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        fill = None if self.fill is None else list(self.fill)
        return {
            "kind": "date",
            "parts": list(self.parts),
            "zoned": self.zoned,
            "fill": fill,
            "indicator": self.indicator,
        }


@dataclass(frozen=True)
class CategoryRule:
    """One input per class, 1 for a row's own: first `classes`, then missing (if it is a class), then `rare` ones together.

    `unknown` says what becomes of a class that no training row had: it is refused, taken for a rare one, or all inputs are 0.
    """

    classes: tuple[Label, ...]
    rare: tuple[Label, ...] = ()
    unknown: Unknown = "refuse"
    missing_class: bool = False  # whether rows without a class are one
    missing_rare: bool = False  # or are among the rare ones
    takes_missing: bool = False  # whether a missing one is a class, perhaps never seen; else it is refused
    kind: ClassVar[Kind] = "category"

    @property
    def width(self) -> int:
        """The number of inputs."""
        return len(self.classes) + self.missing_class + self.has_other

    @property
    def has_other(self) -> bool:
        """Whether there is an input of rare classes."""
        return bool(self.rare) or self.missing_rare

    @property
    def scaled(self) -> int:
        """How many inputs may be shifted and scaled."""
        return 0

    @property
    def is_plain(self) -> bool:
        """Whether the column is taken as it is."""
        return False

    def indices(self, column: pa.Array | pa.ChunkedArray, name: str, source: str, places: Places) -> NDArray[np.int64]:
        """Return the number of the input that is 1 for each row (rows,), -1 for none.

        DataError for cells and types that cannot be used.
        """
        from dbp.data.categories import class_numbers

        known = (*self.classes, *self.rare)
        numbers, missing, texts = class_numbers(column, known, name, source, places)
        if missing.any() and not self.takes_missing:
            self._refuse(np.flatnonzero(missing), ["missing"], "a category, as in training", name, source, places)
        unknown = (numbers < 0) & ~(missing & (self.missing_class or self.missing_rare))
        if self.unknown == "refuse" and unknown.any():
            shown = ", ".join(map(repr, known[:8])) + (", ..." if len(known) > 8 else "")
            expected = f"one of the classes of the training rows: {shown}"
            first = np.flatnonzero(unknown)
            self._refuse(first, [texts(int(first[0]))], expected, name, source, places)
        other = self.width - 1 if self.has_other else -1
        inputs = np.where(numbers < len(self.classes), numbers, other)
        inputs[unknown] = other if self.unknown == "other" else -1
        if self.missing_class or self.missing_rare:
            inputs[missing] = len(self.classes) if self.missing_class else other
        return inputs

    def _refuse(
        self, rows: NDArray[np.int64], text: Sequence[str], expected: str, name: str, source: str, places: Places
    ) -> None:
        from dbp.data.columns import BadCells

        cells = BadCells(len(rows), int(places[rows[0]]) + 1, text[0], expected)
        raise DataError(f"{source}: {cells.describe(name)}")

    def input_names(self, name: str) -> tuple[str, ...]:
        """Return what the inputs are called."""
        more = [*(["missing"] if self.missing_class else []), *(["other"] if self.has_other else [])]
        return tuple(f"{name} = {value}" for value in [*map(repr, self.classes), *more])

    def to_json(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "kind": "category",
            "classes": list(self.classes),
            "rare": list(self.rare),
            "unknown": self.unknown,
            "missing": "class" if self.missing_class else "rare" if self.missing_rare else "unknown",
            "takes_missing": self.takes_missing,
        }


ColumnRule: TypeAlias = NumberRule | DateRule | CategoryRule


def _is_empty(column: pa.Array | pa.ChunkedArray) -> bool:
    """Whether no row has a value. Then the type says nothing: a CSV file has to guess one."""
    return bool(column.null_count == len(column))


def _filled(values: Raw, fill: Sequence[float], indicator: bool) -> Raw:
    missing = np.isnan(values[:, 0])
    raw = np.where(missing[:, np.newaxis], np.array(fill), values)
    return np.column_stack([raw, missing.astype(np.float64)]) if indicator else raw


def rule_from_json(value: object) -> ColumnRule:
    """Return the rule that `to_json` wrote. ValueError or KeyError if it is none."""
    if not isinstance(value, Mapping):
        raise ValueError("no rule of a column")
    kind = value.get("kind")
    if kind == "number":
        fill, indicator = value["fill"], value["indicator"]
        _require((fill is None or _is_finite(fill)) and _is_indicator(indicator, fill))
        return NumberRule(None if fill is None else float(fill), indicator)
    if kind == "date":
        return _date_from_json(value)
    if kind == "category":
        return _category_from_json(value)
    raise ValueError("a column of no known kind")


def _date_from_json(value: Mapping[str, object]) -> DateRule:
    parts, zoned, fill, indicator = value["parts"], value["zoned"], value["fill"], value["indicator"]
    _require(isinstance(parts, list) and len(parts) > 0 and all(isinstance(part, str) for part in parts))
    assert isinstance(parts, list)
    _require(all(part in _PARTS for part in parts) and len(set(parts)) == len(parts))
    _require(isinstance(zoned, bool) and _is_indicator(indicator, fill))
    if fill is not None:
        _require(isinstance(fill, list) and len(fill) == len(parts) and all(map(_is_finite, fill)))
    filled = None if fill is None else tuple(float(number) for number in fill)  # type: ignore[attr-defined]
    return DateRule(tuple(parts), bool(zoned), filled, bool(indicator))


def _category_from_json(value: Mapping[str, object]) -> CategoryRule:
    classes, rare, unknown, missing = value["classes"], value["rare"], value["unknown"], value["missing"]
    takes_missing = value["takes_missing"]
    _require(isinstance(classes, list) and isinstance(rare, list) and isinstance(takes_missing, bool))
    assert isinstance(classes, list)
    assert isinstance(rare, list)
    assert isinstance(takes_missing, bool)
    known = [*classes, *rare]
    _require(all(isinstance(each, str | int | bool) for each in known) and len({type(each) for each in known}) <= 1)
    _require(len(set(known)) == len(known) and all(abs(each) < 2**63 for each in known if isinstance(each, int)))
    _require(unknown in ("refuse", "other", "zeros") and missing in ("class", "rare", "unknown"))
    _require(takes_missing or missing == "unknown")
    rule = CategoryRule(
        tuple(classes),
        tuple(rare),
        unknown,  # type: ignore[arg-type]
        missing == "class",
        missing == "rare",
        takes_missing,
    )
    _require(rule.width > 0)
    return rule


def _is_finite(value: object) -> bool:
    # Compared, not converted: a whole number of 400 digits has no float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_indicator(indicator: object, fill: object) -> bool:
    return isinstance(indicator, bool) and (fill is not None or not indicator)


def _require(right: bool) -> None:
    if not right:
        raise ValueError("a rule of a column that does not fit together")
