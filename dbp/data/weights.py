"""How much each row counts: a column of weights, a weight for its class, or both multiplied.

A weight multiplies the row's error, and the mean is over the sum of the weights: a row of weight 2 counts like two rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dbp.data.columns import Label

ClassWeights = Literal["balanced"] | Mapping[str, float]


def label_text(label: Label) -> str:
    """Return how a class is spelt as a key of a job file: `true`, `7`, `setosa`."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def class_weights(
    asked: ClassWeights | None, counts: Mapping[Label, int], classes: Sequence[Label]
) -> tuple[float, ...]:
    """Return a weight per class, in the order of `classes`; () if none were asked for. ValueError for a class that is not there.

    ``balanced`` gives each class the same sum of weights, rows / (classes * rows of the class), so that their mean over the rows
    is 1 (King & Zeng 2001; scikit-learn's formula). Classes that a map does not name weigh 1.
    """
    if asked is None:
        return ()
    if asked == "balanced":
        rows = sum(counts.values())
        return tuple(rows / (len(classes) * counts[label]) if counts.get(label) else 1.0 for label in classes)
    names = [label_text(label) for label in classes]
    unknown = [name for name in asked if name not in names]
    if unknown:
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise ValueError(f"{unknown[0]!r} is no class of the target; expected some of: {shown}")
    return tuple(float(asked.get(name, 1.0)) for name in names)


def row_weights(
    column: NDArray[np.floating] | None,
    by_class: Sequence[float],
    targets: NDArray[np.floating] | NDArray[np.int32],
    dtype: np.dtype[np.floating],
) -> NDArray[np.floating] | None:
    """Return the weights (rows,) in `dtype` for a column of them (rows,), a weight per class, both, or None for neither."""
    if column is None and not by_class:
        return None
    weights = np.ones(len(targets)) if column is None else column.astype(np.float64)
    if by_class:
        weights = weights * np.array(by_class)[targets.astype(np.intp)]
    with np.errstate(over="ignore"):  # an infinite sum of weights is refused when all rows are loaded
        return np.ascontiguousarray(weights, dtype=dtype)
