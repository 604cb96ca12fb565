"""Messages as bytes: Ray carries bytes as they are, and takes 20 to 60 microseconds to take anything else apart and together again.

Only small messages are packed, since packing copies: a large vector goes through Ray's shared memory, where it is read in place.
"""

from __future__ import annotations

import pickle
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

M = TypeVar("M")

PACKED_BYTES = 256 << 10  # of vectors; up to here a copy costs less than what it saves


def pack(message: M, vectors: tuple[NDArray[np.floating] | None, ...]) -> M | bytes:
    """Return the message, or bytes that stand for it where the `vectors` in it are small."""
    size = sum(vector.nbytes for vector in vectors if vector is not None)
    return pickle.dumps(message, protocol=5) if size <= PACKED_BYTES else message


def unpack(message: bytes | M) -> M:
    """Return what was packed. The bytes come from dbp's own processes, by the same way as everything that Ray carries."""
    if not isinstance(message, bytes):
        return message
    unpacked: M = pickle.loads(message)
    return unpacked
