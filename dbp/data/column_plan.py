"""What a job says of its feature columns, put together with the types in the table: how each column is to become inputs.

All of it is known before a row has been read for training; what the rows then say is in `column_rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from dbp.data.table import Table, require_columns
from dbp.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["number", "category", "date"]
Fill = Literal["mean", "median", "zero"]
Impute = Literal["mean", "median", "zero", "class"]
Unknown = Literal["refuse", "other", "zeros"]
DatePart = Literal["year", "month", "day", "weekday", "hour", "minute", "day_of_year", "timestamp"]

DEFAULT_PARTS: tuple[DatePart, ...] = ("year", "month", "day", "weekday")
MOST_CATEGORIES = 1000


@dataclass(frozen=True)
class ColumnOptions:
    """The job's keys about feature columns (see docs/job-file.md), as plain values. Names may be patterns with ``*`` and ``?``."""

    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    rare_below: int = 0
    unknown: Unknown = "refuse"
    most_categories: int = MOST_CATEGORIES
    dates: tuple[tuple[str, tuple[DatePart, ...]], ...] = ()
    impute: Fill | tuple[tuple[str, Impute], ...] | None = None
    missing_indicator: bool = False


@dataclass(frozen=True)
class SplitRule:
    """How rows are held out: by `column`, which is None for the classes of the target."""

    by: Literal["group", "time", "stratify"]
    column: str | None = None


NO_OPTIONS = ColumnOptions()


class Quantity(NamedTuple):
    """A number that is taken from each row: a column's own, or a part of its date."""

    column: str
    part: DatePart | None = None
    fill: Fill | None = None  # what takes the place of a missing one; None: a missing one is refused
    least: float | None = None  # that it may be; None: any
    zoned: bool = False  # of a date: whether it knows its time zone

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return self.column if self.part is None else f"{self.column}.{self.part}"


@dataclass(frozen=True)
class FeaturePlan:
    """How one feature column is to become inputs."""

    name: str
    kind: Kind = "number"
    parts: tuple[DatePart, ...] = ()  # of a date
    zoned: bool = False  # of a date: whether it knows its time zone
    fill: Fill | None = None
    indicator: bool = False  # whether a further input says where a value was missing
    missing_class: bool = False  # of a category: whether missing is a class of its own
    named: bool = False  # whether the job calls it a category, or its type alone

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The numbers whose mean and spread are to be known."""
        if self.kind == "category":
            return ()
        if self.kind == "date":
            return tuple(Quantity(self.name, part, self.fill, zoned=self.zoned) for part in self.parts)
        return (Quantity(self.name, None, self.fill),)


def choose_features(
    table: Table,
    features: Sequence[str] | None,
    drop: Sequence[str],
    never: Sequence[str],
    by_default_not: Sequence[str],
) -> tuple[str, ...]:
    """Return the feature columns: those that are listed (all, if None) without those that are dropped.

    A pattern stands for the columns that it fits, in the table's order, but for none in `never` (targets, weight). Columns of
    `by_default_not` are features only where they are named, here or as categories or dates. DataError for a name or pattern that
    fits no column.
    """
    offered = [name for name in table.schema.names if name not in never]
    if features is None:
        chosen = [name for name in offered if name not in by_default_not]
    else:
        general = [name for name in offered if name not in by_default_not]
        chosen = [name for entry in features for name in _fitting(table, "data.features", entry, general)]
    dropped = {name for entry in drop for name in _fitting(table, "data.drop", entry, offered)}
    return tuple(dict.fromkeys(name for name in chosen if name not in dropped))


def is_pattern(entry: str) -> bool:
    """Whether an entry may stand for several columns."""
    return "*" in entry or "?" in entry


def fits(entry: str, name: str) -> bool:
    """Whether a name, or a pattern in which ``*`` stands for any text and ``?`` for one character, fits a column's name."""
    if entry == name or not is_pattern(entry):
        return entry == name
    return re.fullmatch(_expression(entry), name, re.DOTALL) is not None


def _expression(entry: str) -> str:
    simple = re.sub(r"\*+", "*", entry)
    return "".join(".*" if letter == "*" else "." if letter == "?" else re.escape(letter) for letter in simple)


def _fitting(table: Table, key: str, entry: str, offered: Sequence[str]) -> list[str]:
    if entry in table.schema.names or not is_pattern(entry):
        require_columns(table, [entry])
        return [entry]
    found = [name for name in offered if fits(entry, name)]
    if not found:
        shown = ", ".join(offered[:12]) + (", ..." if len(offered) > 12 else "")
        raise DataError(f"{table.path}: {key}: {entry!r} fits no column; expected a pattern for some of: {shown}")
    return found


def plan_features(
    table: Table, names: Sequence[str], options: ColumnOptions, splitting: Sequence[str] = ()
) -> tuple[FeaturePlan, ...]:
    """Return the plan of each feature column; `splitting` are columns that split rows.

    DataError for entries that fit no feature, and for what a type does not allow.
    """
    impute = options.impute if isinstance(options.impute, tuple) else ()
    for key, entries in (
        ("data.categories", options.categories),
        ("data.dates", [entry for entry, _ in options.dates]),
        ("data.impute", [entry for entry, _ in impute]),
    ):
        _require_used(table, key, entries, names, splitting)
    plans = tuple(_plan(table, name, options) for name in names)
    for entry, rule in impute:
        if not any(fits(entry, plan.name) and _suits(rule, plan.kind) for plan in plans):
            wanted = "category" if rule == "class" else "column of numbers or dates"
            raise DataError(f"{table.path}: data.impute: {entry!r} fits no {wanted}, and {rule} is for those")
    return plans


def _require_used(
    table: Table, key: str, entries: Iterable[str], names: Sequence[str], splitting: Sequence[str]
) -> None:
    for entry in entries:
        if not any(fits(entry, name) for name in names):
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            more = "; a column that splits rows is one only where it is named" if entry in splitting else ""
            raise DataError(f"{table.path}: {key}: {entry!r} is none of the features; expected one of: {shown}{more}")


def _plan(table: Table, name: str, options: ColumnOptions) -> FeaturePlan:
    kind = table.schema.field(name).type
    named = _match(options.categories, name) is not None
    date = _match([entry for entry, _ in options.dates], name)
    if named and date is not None:
        raise DataError(f"{table.path}: column {name!r} is in data.categories and in data.dates; expected one of them")
    if date is not None:
        from dbp.data.dates import says_zone

        plan = FeaturePlan(name, "date", parts=dict(options.dates)[date], zoned=says_zone(table, name))
    elif named or _is_category(kind):
        plan = FeaturePlan(name, "category", named=named)
    else:
        plan = FeaturePlan(name)
    rule = _impute(table, plan, options)
    if rule is None:
        return plan
    if rule == "class":
        return replace(plan, missing_class=True)
    return replace(plan, fill=rule, indicator=options.missing_indicator)


def _impute(table: Table, plan: FeaturePlan, options: ColumnOptions) -> Impute | None:
    """Return the rule for a column: that of its own name, else of the first pattern that fits it and suits its kind.

    DataError where its own name has a rule that does not suit it.
    """
    if not isinstance(options.impute, tuple):
        return options.impute if options.impute is not None and _suits(options.impute, plan.kind) else None
    rules = dict(options.impute)
    own = rules.get(plan.name)
    if own is None:
        return next((r for entry, r in options.impute if fits(entry, plan.name) and _suits(r, plan.kind)), None)
    if _suits(own, plan.kind):
        return own
    if plan.kind == "category":
        raise DataError(f"{table.path}: data.impute: {plan.name!r} is a category, which has no {own}; expected `class`")
    raise DataError(
        f"{table.path}: data.impute: {plan.name!r} is a {plan.kind}, and `class` is for categories; expected mean, median or zero"
    )


def _suits(rule: Impute, kind: Kind) -> bool:
    return (rule == "class") == (kind == "category")


def _match(entries: Sequence[str], name: str) -> str | None:
    """Return the entry that a column falls under: its own name, else the first pattern that fits."""
    if name in entries:
        return name
    return next((entry for entry in entries if fits(entry, name)), None)


def _is_category(kind: pa.DataType) -> bool:
    import pyarrow as pa

    from dbp.data.columns import is_label, is_text

    return is_text(kind) or (pa.types.is_dictionary(kind) and is_label(kind))
