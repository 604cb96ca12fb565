"""Sums over long vectors that have the same bits on every machine. BLAS (np.dot, np.linalg.norm) has others for each CPU type."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dbp.network import compiled

Vector = NDArray[np.floating]


def dot(left: Vector, right: Vector) -> float:
    """Return the sum of the products of two vectors (n,) of one dtype, float32 or float64; products and sums are float64."""
    if left.shape != right.shape or left.dtype != right.dtype:
        raise ValueError(
            f"vectors of {left.shape}, {left.dtype} and {right.shape}, {right.dtype}; expected two of a kind"
        )
    left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
    call = compiled.functions(left.dtype.name)
    return call.dot(left.size, compiled.address(left), compiled.address(right))


def norm(vector: Vector) -> float:
    """Return the Euclidean norm of a vector (n,)."""
    return math.sqrt(dot(vector, vector))
