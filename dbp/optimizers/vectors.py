"""Vector arithmetic whose bits no BLAS decides.

Products and sums are numpy's own multiply and add.reduce (pairwise), in float64 whatever the vectors are, so a method's scalars
do not depend on which kernels a BLAS picks for the machine. Scalars go into vectors in the vectors' own precision: float32 stays
float32.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.floating]


def dot(first: Vector, second: Vector) -> float:
    """Return the inner product of two vectors (P,), summed in float64 from float64 products."""
    return float(np.add.reduce(np.multiply(first, second, dtype=np.float64)))


def norm(vector: Vector) -> float:
    """Return the Euclidean length of a vector (P,), in float64; NaN if it holds one."""
    return math.sqrt(dot(vector, vector))


def scaled(factor: float, vector: Vector) -> Vector:
    """Return ``factor * vector`` in the vector's own precision."""
    product: Vector = vector * vector.dtype.type(factor)
    return product


def moved(point: Vector, step: float, direction: Vector) -> Vector:
    """Return ``point + step * direction`` in the point's own precision."""
    end: Vector = point + scaled(step, direction)
    return end


def scalar(value: float) -> NDArray[np.float64]:
    """Return a number as a state keeps it: an array of shape (1,), float64 also where the job computes in float32."""
    return np.array([value], dtype=np.float64)
