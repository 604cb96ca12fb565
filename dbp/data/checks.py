"""What the number of rows, the first rows and the summaries of all show of tables and columns that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from dbp.data.column_plan import ColumnOptions, FeaturePlan
from dbp.data.columns import BadCells, is_text, plain_labels
from dbp.data.statistics import ColumnSummary
from dbp.data.table import BATCH_ROWS, Table
from dbp.data.vocabulary import Vocabulary, count_classes
from dbp.errors import DataError

_ADVICE = "numbers; leave the column out of data.features, or turn it into numbers"
_MOST_SHOWN = 5
MOST_SPLIT_ROWS = 999_999_999  # numpy draws no multivariate hypergeometric numbers beyond


def require_rows(table: Table, validation: float | str | None) -> None:
    """Raise DataError for a table with no rows, or with a number of rows that cannot be split."""
    if table.row_count == 0:
        raise DataError(f"{table.path}: has columns but no rows; expected at least one")
    if isinstance(validation, float) and table.row_count < 2:
        raise DataError(f"{table.path}: 1 row cannot be split for data.validation {validation}; expected 2 or more")
    if isinstance(validation, float) and table.row_count > MOST_SPLIT_ROWS:
        raise DataError(
            f"{table.path}: {table.row_count} rows cannot be split for data.validation {validation}; expected at "
            f"most {MOST_SPLIT_ROWS}. Name a validation table instead"
        )


def check_first_rows(table: Table, plans: Sequence[FeaturePlan], classes: Callable[[FeaturePlan], Vocabulary]) -> None:
    """Raise DataError for a column of numbers that is text because of cells that are none, by the classes among its first rows."""
    for plan in plans:
        if plan.kind == "category" and not plan.named:
            found = classes(plan)
            if not found.over and looks_numeric(table, plan, found):
                raise DataError(f"{table.path}: {why_no_number(table, plan.name)}")


def why_no_number(table: Table, name: str) -> str:
    """Return words for a column that should hold numbers, with the first cell that is none."""
    kind, place = table.schema.field(name).type, 0
    for batch in table.batches(0, table.row_count, [name]):
        if not _read_as_numbers(batch.column(0)):
            for offset in range(batch.num_rows):
                if not _read_as_numbers(batch.column(0).slice(offset, 1)):
                    text = repr(batch.column(0)[offset].as_py())[:80]
                    return BadCells(1, place + offset + 1, text, _ADVICE).describe(name)
        place += batch.num_rows
    return f"column {name!r} holds {kind}; expected {_ADVICE}"


def _read_as_numbers(column: pa.Array) -> bool:
    """Whether all cells are missing or spell numbers."""
    try:
        pc.utf8_trim(column.drop_null().cast(pa.string()), " \t").cast(pa.float64())
    except pa.ArrowException:
        return False
    return True


def has_no_value(table: Table, name: str) -> bool:
    """Whether no row of a column has a value. Reads up to the first one."""
    batches = table.batches(0, table.row_count, [name])
    return all(batch.column(0).null_count == batch.num_rows for batch in batches)


def first_classes(table: Table, plan: FeaturePlan, most: int) -> Vocabulary:
    """Return the classes among the first rows of a table, whose bad cells are left out of account."""
    found = Vocabulary(most)
    for batch in table.batches(0, min(BATCH_ROWS, table.row_count), [plan.name]):
        column = plain_labels(batch.column(0)).drop_null()
        found = found.add(count_classes(column, pa.array(range(len(column))).to_numpy(), most, missing_too=False)[0])
    return found


def looks_numeric(table: Table, plan: FeaturePlan, found: Vocabulary) -> bool:
    """Whether a column of text that the job does not call a category is one of numbers with cells that are none."""
    kind = table.schema.field(plan.name).type
    return not plan.named and is_text(kind) and found.spells_numbers


def feature_problems(
    tables: tuple[Table, Table],
    plans: Sequence[FeaturePlan],
    options: ColumnOptions,
    training: ColumnSummary,
    validation: ColumnSummary | None,
) -> list[str]:
    """Return what makes features unusable; `tables` are those of the training and of the validation rows."""
    return [
        *_empty_columns(tables[0].path, plans, training),
        *_category_problems(tables, plans, options, training, validation),
    ]


def _category_problems(
    tables: tuple[Table, Table],
    plans: Sequence[FeaturePlan],
    options: ColumnOptions,
    training: ColumnSummary,
    validation: ColumnSummary | None,
) -> list[str]:
    problems = []
    for plan in plans:
        if plan.kind != "category" or plan.name in training.bad:
            continue
        path, found = tables[0].path, training.vocabularies[plan.name]
        if not found.over and looks_numeric(tables[0], plan, found):
            problems.append(f"{path}: {why_no_number(tables[0], plan.name)}")
        elif found.over:
            problems.append(f"{path}: {too_many(plan, options)}")
        elif not found.counts:
            problems.append(f"{path}: column {plan.name!r} has no value in any training row; expected some")
        elif validation is not None and plan.name not in validation.bad and options.unknown == "refuse":
            problems += _unknown(tables[1].path, plan, options, found, validation.vocabularies[plan.name])
    return problems


def too_many(plan: FeaturePlan, options: ColumnOptions) -> str:
    """Return words for a column with more classes than are taken."""
    return (
        f"column {plan.name!r} has more than {options.most_categories:,} different values, too many to be categories; expected "
        "at most data.most_categories. Leave it out with data.drop, or allow more"
    )


def _unknown(path: str, plan: FeaturePlan, options: ColumnOptions, known: Vocabulary, seen: Vocabulary) -> list[str]:
    if seen.over:
        return [f"{path}: {too_many(plan, options)}"]
    unknown = sorted(set(seen.counts) - set(known.counts), key=str)
    words = [repr(value) for value in unknown[:_MOST_SHOWN]]
    if seen.missing and not known.missing:
        words.append("missing")
    if not words:
        return []
    more = ", ..." if len(unknown) > _MOST_SHOWN else ""
    return [
        f"{path}: column {plan.name!r} has classes among the validation rows that no training row has: {', '.join(words)}{more}; "
        "expected every class among the training rows, or data.unknown: other or zeros"
    ]


def _empty_columns(path: str, plans: Sequence[FeaturePlan], summary: ColumnSummary) -> list[str]:
    """Return problems of columns of which no training row has a value to fill in missing ones from."""
    empty = {name for name, count in zip(summary.names, summary.counts, strict=True) if count == 0}
    return [
        f"{path}: column {plan.name!r} has no value in any training row; expected some, or the column in data.drop"
        for plan in plans
        if any(quantity.name in empty for quantity in plan.quantities)
    ]
