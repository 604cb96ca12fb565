"""Vector arithmetic that has the same bits on every machine. BLAS (np.dot, np.linalg.norm) has others for each CPU type.

Scalars go into vectors in the vectors' own precision: float32 stays float32.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dbp.network import compiled

Vector = NDArray[np.floating]


def dot(left: Vector, right: Vector) -> float:
    """Return the sum of the products of two vectors (n,), float32 or float64; products and sums are float64."""
    if left.shape != right.shape:
        raise ValueError(f"vectors of shapes {left.shape} and {right.shape}; expected two of one length")
    precision = (
        "float32" if left.dtype == right.dtype == np.float32 else "float64"
    )  # dtype.name takes longer than the sum
    left, right = np.ascontiguousarray(left, precision), np.ascontiguousarray(right, precision)
    call = compiled.functions(precision)
    return call.dot(left.size, compiled.address(left), compiled.address(right))


def solve_positive_definite(matrix: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return x of A x = b for a symmetric positive definite matrix A (n, n), of which the upper triangle is read; b is (n,).

    By Cholesky's factorisation, in float64. None where A is not positive definite.
    """
    factor, solution = np.array(matrix, np.float64, order="C"), np.array(right, np.float64)
    call = compiled.functions("float64")
    failed = call.solve(len(solution), compiled.address(factor), compiled.address(solution))
    return None if failed else solution


def digest(vector: Vector) -> str:
    """Return 16 hex digits that are the same for the same bits: of the little-endian bytes of a vector (n,), float32 or float64.

    A change within one number always changes them, any other does but for one in 2**64. They take a tenth of the time of a
    SHA-256 and tell errors; they do not keep out a forger. See network/native/digest.c.
    """
    array = vector
    if sys.byteorder != "little" or not (vector.dtype.isnative and vector.flags.c_contiguous):
        array = np.ascontiguousarray(vector, vector.dtype.newbyteorder("<"))
    return f"{compiled.digest_function()(array.nbytes, compiled.address(array)):016x}"


def two_loop_recursion(gradient: Vector, moves: Sequence[Vector], changes: Sequence[Vector]) -> Vector:
    """Return ``-H g`` for the inverse Hessian H that pairs of moves s and changes y tell of (Nocedal & Wright 2006, algorithm 7.4).

    All are vectors (P,) of one precision, float32 or float64; pairs are newest first, and there is at least one. H begins as
    ``(s.y / y.y) I`` of the newest. Computed in float64 and rounded once.
    """
    if not 1 <= len(moves) == len(changes):
        raise ValueError(f"{len(moves)} moves and {len(changes)} changes; expected as many of both, at least one")
    precision, size, count = gradient.dtype.name, gradient.size, len(moves)
    if any(vector.shape != (size,) or vector.dtype != gradient.dtype for vector in (*moves, *changes)):
        raise ValueError(
            f"pairs for a gradient of {size} numbers in {precision}; expected vectors of its shape and dtype"
        )
    held = [np.ascontiguousarray(vector) for vector in (gradient, *moves, *changes)]
    here, *rest = map(compiled.address, held)
    pointers = ctypes.c_void_p * count
    direction, room = np.empty(size, gradient.dtype), np.empty(size + 2 * count)
    begin = compiled.address(room) or 0
    compiled.functions(precision).two_loops(
        size, count, pointers(*rest[:count]), pointers(*rest[count:]), here,
        begin, begin + 8 * size, begin + 8 * (size + count), compiled.address(direction),
    )  # fmt: skip
    return direction


def norm(vector: Vector) -> float:
    """Return the Euclidean norm of a vector (n,)."""
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


def power(base: float, exponent: int) -> float:
    """Return base to the power of a whole number >= 0, by repeated squaring; the C library's pow differs between machines."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def cosine_of_pi_times(part: float) -> float:
    """Return cos(pi t) for 0 <= t <= 1, by the series of the sine of pi (1/2 - t); the C library's cos differs between machines."""
    x = math.pi * (0.5 - part)
    total = 0.0
    for term in range(25, 0, -2):
        total = x / term * (1.0 - x / (term + 1) * total) if term > 1 else x * (1.0 - x / 2 * total)
    return total
