"""Features in the narrow numbers that the table has them in, 1 or 2 bytes each, until a step needs them.

Every table of uint8, int8, true/false and float16 columns has one such type that holds all its values exactly. Encoded rows take 4
or 8 bytes a number instead; they are made of the narrow ones a shard at a time, by the same arithmetic, so to the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dbp.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.column_plan import FeaturePlan
    from dbp.data.table import Table

Compact: TypeAlias = NDArray[Any]  # (rows, features) of uint8, int8 or float16


def compact_type(table: Table, plans: Sequence[FeaturePlan]) -> np.dtype[Any]:
    """Return the type that holds the numbers of all features. DataError where a column has wider ones, or none."""
    import pyarrow as pa

    kinds = []
    for plan in plans:
        kind = table.schema.field(plan.name).type
        narrow = kind in (pa.uint8(), pa.int8(), pa.float16()) or pa.types.is_boolean(kind)
        if plan.kind != "number" or not narrow or plan.fill is not None:
            what = (
                f"is a {plan.kind}"
                if plan.kind != "number"
                else f"holds {kind}"
                if not narrow
                else "is filled by data.impute"
            )
            raise DataError(
                f"{table.path}: data.compact: column {plan.name!r} {what}; expected columns of uint8, int8, true/false or "
                "float16 without missing values, or `compact: false`"
            )
        kinds.append(np.dtype(np.uint8) if pa.types.is_boolean(kind) else np.dtype(kind.to_pandas_dtype()))
    first = kinds[0]
    return (
        first if all(kind == first for kind in kinds) else np.dtype(np.float16)
    )  # which holds whole numbers up to 2048


def compact_rows(table: pa.Table, names: Sequence[str], kind: np.dtype[Any]) -> Compact:
    """Return columns (rows, names), C-contiguous, as numbers of a type that holds them all."""
    import pyarrow as pa

    rows = np.empty((table.num_rows, len(names)), kind)
    for index, name in enumerate(names):
        column = table.column(name)
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.uint8())
        rows[:, index] = column.to_numpy()
    return rows
