"""Whether the types of columns suit what is to become of them: known before any row is read."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dbp.data.categories import same_family
from dbp.data.checks import why_no_number
from dbp.data.column_plan import FeaturePlan
from dbp.data.columns import is_label, is_number
from dbp.data.dates import is_date, is_zoned
from dbp.data.table import Table
from dbp.errors import DataError


def check_types(
    table: Table, quantities: Sequence[str], plans: Sequence[FeaturePlan], label: str | None, trained: pa.Schema
) -> None:
    """Raise DataError for a column of another type than its use needs, or than the training table's (`trained`).

    `quantities` are to be numbers, `label` is to name classes.
    """
    check_numbers(table, quantities)
    for plan in plans:
        if plan.kind != "number":
            _check_feature(table, plan, trained.field(plan.name).type)
    if label is not None and not is_label(kind := table.schema.field(label).type):
        raise DataError(f"{table.path}: target {label!r} holds {kind}; expected text, whole numbers or true/false")


def check_numbers(table: Table, quantities: Sequence[str]) -> None:
    """Raise DataError for a column that is none of numbers."""
    for name in quantities:
        if not is_number(table.schema.field(name).type):
            raise DataError(f"{table.path}: {why_no_number(table, name)}")


def _check_feature(table: Table, plan: FeaturePlan, trained: pa.DataType) -> None:
    """Raise DataError for a category or date column that holds neither, or not what the training table's holds."""
    kind = table.schema.field(plan.name).type
    if plan.kind == "category":
        right, expected = is_label(kind), "text, whole numbers or true/false for a category"
        alike = same_family(kind, trained)
    else:
        right, expected = is_date(kind), "dates, timestamps, or text such as 2026-11-25 08:30:00"
        alike = is_zoned(kind) == is_zoned(trained)
    if not right or not alike:
        raise DataError(
            f"{table.path}: column {plan.name!r} holds {kind}; expected {f'{trained}, as in training' if right else expected}"
        )
