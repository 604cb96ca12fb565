"""Cells to the numbers of known classes; and the rules of a category column from the classes of the training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dbp.data.column_plan import ColumnOptions, FeaturePlan
from dbp.data.column_rules import CategoryRule
from dbp.data.columns import Label, is_label, is_text, plain_labels
from dbp.data.vocabulary import Vocabulary
from dbp.errors import DataError

_FAMILIES = {str: "text", int: "whole numbers", bool: "true/false"}


def class_numbers(
    column: pa.Array | pa.ChunkedArray, known: Sequence[Label], name: str, source: str, places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], Callable[[int], str]]:
    """Return the place of each cell in `known` (rows,), -1 for none; whether it is missing (rows,); and a cell in words.

    DataError for a column of another type than the classes.
    """
    plain = plain_labels(column)
    family = type(known[0]) if known else None
    if plain.null_count == len(plain) or family is None:  # of a column without a value, the type says nothing
        missing = np.asarray(pc.is_null(plain, nan_is_null=True).to_numpy(zero_copy_only=False))
        return np.full(len(plain), -1), missing, lambda row: repr(plain[row].as_py())
    if not is_label(plain.type) or not _is_of(plain.type, family):
        raise DataError(f"{source}: column {name!r} holds {plain.type}; expected {_FAMILIES[family]}, as in training")
    missing = np.asarray(pc.is_null(plain, nan_is_null=True).to_numpy(zero_copy_only=False))
    kind = {str: plain.type, int: pa.int64(), bool: pa.bool_()}[family]
    # Numbers are compared as float64 or as whole numbers: a cell of 1.5 is no class, and no error of a cast.
    values = pa.array(list(known), pa.float64()) if pa.types.is_floating(plain.type) else pa.array(list(known), kind)
    cells = plain.cast(values.type, safe=False) if plain.type != pa.uint64() else _small(plain)
    found = pc.fill_null(pc.index_in(cells, value_set=values), -1)
    numbers = np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
    numbers[missing] = -1
    return numbers, missing, lambda row: repr(plain[row].as_py())[:80]


def same_family(first: pa.DataType, second: pa.DataType) -> bool:
    """Whether two columns hold classes of one family: text, whole numbers, or truth."""
    return _family(first) == _family(second)


def _family(kind: pa.DataType) -> type | None:
    if pa.types.is_dictionary(kind):
        return _family(kind.value_type)
    return next((family for family in _FAMILIES if _is_of(kind, family)), None)


def _is_of(kind: pa.DataType, family: type) -> bool:
    if family is str:
        return is_text(kind)
    if family is bool:
        return bool(pa.types.is_boolean(kind))
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _small(column: pa.Array) -> pa.Array:
    """Return whole numbers of 64 bits without sign as signed ones; those that are too large, which are no class, as missing."""
    within = pc.less_equal(column, pa.scalar(2**63 - 1, pa.uint64()))
    return pc.if_else(within, column, pa.scalar(None, pa.uint64())).cast(pa.int64())


def category_rule(
    plan: FeaturePlan, found: Vocabulary, options: ColumnOptions, rows: int
) -> tuple[CategoryRule, list[str]]:
    """Return the rule for a column whose classes in `rows` training rows are `found`; and what the user should know."""
    frequent = sorted(value for value, count in found.counts.items() if count >= options.rare_below)
    rare = sorted(value for value, count in found.counts.items() if count < options.rare_below)
    missing_is_rare = 0 < found.missing < options.rare_below
    rule = CategoryRule(
        tuple(frequent),
        tuple(rare),
        options.unknown,
        missing_class=found.missing > 0 and not missing_is_rare,
        missing_rare=missing_is_rare,
        takes_missing=plan.missing_class,
    )
    warnings = []
    if rule.width == 1:
        few = "no class that is frequent enough (data.rare_below)" if rule.has_other else "one class only"
        warnings.append(f"column {plan.name!r} has {few}, so nothing can be learnt from it")
    if options.unknown == "other" and not rule.has_other:
        warnings.append(
            f"column {plan.name!r} has no class of fewer than {options.rare_below} rows, so there is no input for other "
            "classes: one that was never seen is 0 in all inputs"
        )
    classes = len(found.counts)
    if classes > 20 and 2 * classes > rows:
        warnings.append(
            f"column {plan.name!r} has {classes} classes in {rows} training rows: is it a name or a number of rows? "
            "data.drop leaves it out"
        )
    return rule, warnings
