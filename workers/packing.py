"""Messages as bytes: those of every step in a form of their own, others by Python's pickling. Large arrays are left out of the
bytes, so that they need not be copied.

Used between dbp's own processes only, after both ends have proved that they know the pool's secret (see `link`). Ray would pickle
the same messages itself, slower. Nothing that is read from a file goes through here.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass

from dbp.workers.step_messages import ANSWER, CALL, body_of, message_of

APART_BYTES = 16 << 10  # an array of this size or more travels beside the bytes


@dataclass(frozen=True)
class Packed:
    """A message: `body` and, beside it, the memory of its large arrays, in order."""

    body: bytes
    arrays: Sequence[memoryview]  # flat bytes each


def pack(message: object) -> Packed:
    """Take a message apart; its large arrays are referred to, not copied."""
    form = body_of(message, APART_BYTES)
    if form is not None:
        return Packed(*form)
    arrays: list[memoryview] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < APART_BYTES:
            return True
        arrays.append(raw)
        return False

    return Packed(pickle.dumps(message, protocol=5, buffer_callback=stays), arrays)


def unpack(packed: Packed) -> object:
    """Put a message together; its large arrays lie in the memory of `packed.arrays`, read-only where that is."""
    if packed.body[:1] in (CALL, ANSWER):
        return message_of(packed.body, packed.arrays)
    message: object = pickle.loads(packed.body, buffers=packed.arrays)
    return message
