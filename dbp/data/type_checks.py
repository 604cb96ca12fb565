"""Whether the types of columns suit what is to become of them: known before any row is read."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dbp.data.categories import same_family
from dbp.data.checks import has_no_value, why_no_number
from dbp.data.column_plan import FeaturePlan
from dbp.data.columns import is_label, is_number, is_text
from dbp.data.dates import is_date, is_zoned
from dbp.data.table import Table
from dbp.errors import DataError


def check_types(
    table: Table, quantities: Sequence[str], plans: Sequence[FeaturePlan], labels: Sequence[str], trained: Table
) -> None:
    """Raise DataError for a column of another type than its use needs, or than the training table's (`trained`).

    `quantities` are to be numbers, `labels` are to name classes. A feature without a value in a validation table is excused: its
    type says nothing, a CSV file has to guess one.
    """
    features = {plan.name for plan in plans}

    def excused(name: str) -> bool:
        return name in features and table is not trained and has_no_value(table, name)

    check_numbers(table, [name for name in quantities if is_number(table.schema.field(name).type) or not excused(name)])
    for plan in plans:
        if plan.kind != "number" and (problem := _problem(table, plan, trained.schema)) and not excused(plan.name):
            raise DataError(f"{table.path}: {problem}")
    for name in labels:
        if not is_label(kind := table.schema.field(name).type):
            raise DataError(f"{table.path}: target {name!r} holds {kind}; expected text, whole numbers or true/false")


def check_numbers(table: Table, quantities: Sequence[str]) -> None:
    """Raise DataError for a column that is none of numbers."""
    for name in quantities:
        if not is_number(table.schema.field(name).type):
            raise DataError(f"{table.path}: {why_no_number(table, name)}")


def _problem(table: Table, plan: FeaturePlan, schema: pa.Schema) -> str | None:
    """Return what is wrong with a category or date column that holds neither, or not what the training table's holds."""
    kind, trained = table.schema.field(plan.name).type, schema.field(plan.name).type
    if plan.kind == "category":
        right, expected = is_label(kind), "text, whole numbers or true/false for a category"
        alike = same_family(kind, trained)
    else:
        right, expected = is_date(kind), "dates, timestamps, or text such as 2026-11-25 08:30:00"
        alike = is_text(kind) or is_zoned(kind) == plan.zoned
    if right and alike:
        return None
    return f"column {plan.name!r} holds {kind}; expected {f'{trained}, as in training' if right else expected}"
