"""Targets that are classes: what is wrong with them, and from a column's cells to the places of their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dbp.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.columns import Label
    from dbp.data.statistics import ColumnSummary

MOST_CLASSES = 1000

LabelPair: TypeAlias = (
    "tuple[Label, Label]"  # the two classes of a label, sorted; the second is what its probability is of
)


def label_pair(counts: Mapping[Label, int]) -> LabelPair:
    """Return the two classes of a label. ValueError, of what is wrong with them, where there are more or fewer."""
    classes = sorted(counts)
    if len(classes) == 2:
        return classes[0], classes[1]
    if len(classes) == 1:
        raise ValueError(f"has one class only ({classes[0]!r}); expected two, such as 0 and 1")
    shown = ", ".join(map(repr, classes[:5])) + (", ..." if len(classes) > 5 else "")
    raise ValueError(f"has {len(classes):,} classes ({shown}); expected two, such as 0 and 1, with task: multilabel")


def class_places(
    column: pa.Array | pa.ChunkedArray, name: str, classes: Sequence[Label], source: str, places: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return the place of each cell's class among `classes` (rows,). DataError for a column or a cell that holds none of them.

    `places` (rows,) are the rows' numbers in `source`, from 0, for messages.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from dbp.data.columns import BadCells, plain_labels

    column = plain_labels(column)
    known = pa.array(classes)
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
            f"{source}: column {name!r} holds {column.type}; expected classes such as {classes[0]!r}"
        ) from None
    if indices.null_count:
        place = int(np.flatnonzero(np.asarray(indices.is_null()))[0])
        shown = ", ".join(repr(value) for value in classes[:8]) + (", ..." if len(classes) > 8 else "")
        cells = BadCells(
            indices.null_count, int(places[place]) + 1, repr(column[place].as_py()), f"one of the classes {shown}"
        )
        raise DataError(f"{source}: {cells.describe(name)}")
    result: NDArray[np.int32] = indices.to_numpy(zero_copy_only=False).astype(np.int32)
    return result


def class_problems(
    paths: tuple[str, str], target: str, training: ColumnSummary, validation: ColumnSummary | None
) -> list[str]:
    """Return what makes the target of a classification unusable; `paths` are the tables of training and validation rows."""
    classes = training.labels
    if len(classes) == 1:
        (only,) = classes
        return [f"{paths[0]}: target {target!r} has one class only ({only!r}); expected at least two"]
    if len(classes) > MOST_CLASSES:
        return [
            f"{paths[0]}: target {target!r} has {len(classes)} classes in {training.rows} rows; expected at most "
            f"{MOST_CLASSES}. If it is a quantity, say `task: regression`"
        ]
    unknown = sorted(set(validation.labels) - set(classes), key=str) if validation is not None else []
    if unknown:
        shown = ", ".join(map(repr, unknown[:5]))
        return [
            f"{paths[1]}: target {target!r} has classes among the validation rows that no "
            f"training row has: {shown}; expected every class among the training rows"
        ]
    return []


def label_problems(
    paths: tuple[str, str], training: ColumnSummary, validation: ColumnSummary | None, adopted: bool = False
) -> list[str]:
    """Return what makes the targets of a multilabel task unusable; `paths` are the tables of training and validation rows.

    With an `adopted` encoding, whose classes are known, training rows may lack some.
    """
    problems = []
    for name, counts in training.labels_of.items():
        if adopted or name in training.bad:
            continue
        try:
            pair = label_pair(counts)
        except ValueError as error:
            problems.append(f"{paths[0]}: target {name!r} {error}")
            continue
        seen = {} if validation is None or name in validation.bad else validation.labels_of[name]
        unknown = sorted(set(seen) - set(pair), key=str)
        if unknown:
            shown = ", ".join(map(repr, unknown[:5]))
            problems.append(
                f"{paths[1]}: target {name!r} has classes among the validation rows that no training row has: {shown}; "
                "expected every class among the training rows"
            )
    return problems
