"""Rows as the kernel takes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class EncodedRows(NamedTuple):
    """Some rows, C-contiguous, of one dtype; but inputs may be kept in a narrower type, and be encoded later."""

    inputs: NDArray[Any]  # (rows, features)
    targets: NDArray[np.floating] | NDArray[np.int32]  # (rows, outputs), or class indices (rows,)
    weights: NDArray[np.floating] | None = None  # (rows,): how much each counts, apart from its class; None: once
