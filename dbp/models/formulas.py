"""Text that a spreadsheet takes for a formula. A table of predictions keeps its cells as they are; whoever opens it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# What spreadsheets look at first: = + - @, a tab, a carriage return. Signed numbers and lone dashes are no formulas.
_FORMULA = r"^\s*([=@\t\r]|[+\-].*[^0-9.,eE+\-%\s])"


def first_formula(batch: pa.RecordBatch) -> tuple[str, str] | None:
    """Return (column, text) of the first text cell, or column name, that a spreadsheet would compute; None if there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pa.array(batch.schema.names, pa.string())
    for name in names.filter(pc.match_substring_regex(names, _FORMULA)).to_pylist():
        return name, name
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = column.dictionary
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            for text in column.filter(pc.match_substring_regex(column, _FORMULA)).slice(0, 1).to_pylist():
                return name, text
    return None
