"""The two messages of every step in a form of their own: a call for the shards of a part, and the sums that answer it.

Pickling them takes longer than sending them, and that is felt where a step takes a millisecond. Other messages (audits, summaries
of columns, errors) have no such form: see `packing`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from dbp.sums.batches import Batch, ChosenRows, Slice
from dbp.sums.messages import Call, CallAnswered, Part, SumTask, TaskKind
from dbp.sums.partial_sum import PartialSum
from dbp.sums.tree import Node

Vector = NDArray[np.floating]
Form = tuple[bytes, list[memoryview]]  # the body, and large arrays beside it

CALL, ANSWER = b"C", b"A"  # how a body of this form begins

_KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
_PARTS: tuple[Part, ...] = get_args(Part)
_TYPES: tuple[np.dtype[np.floating], ...] = (np.dtype(np.float32), np.dtype(np.float64))

_CALL = struct.Struct(
    "<cQQBBBIqI"
)  # number, step, kind, part, type of the parameters, shards, epoch (-1: all rows), slices
_ANSWER = struct.Struct("<cIQBI")  # worker, number, type of the gradients, partial sums
_PARTIAL = struct.Struct("<IIdddqq")  # node, loss, weight, squared error, rows, correct


def body_of(message: object, least: int) -> Form | None:
    """Return a message in this form if it has one; its vectors, of `least` bytes or more, are referred to."""
    if isinstance(message, CallAnswered):
        return _answer_body(message, least)
    if isinstance(message, tuple) and len(message) == 2 and isinstance(message[0], Call):
        return _call_body(message[0], message[1], least)
    return None


def message_of(body: bytes, arrays: Sequence[memoryview]) -> object:
    """Return the message of a body that begins with CALL or ANSWER."""
    return _call(body, arrays) if body[:1] == CALL else _answer(body, arrays)


def _type_of(vector: object, least: int) -> int | None:
    """Return the place of its type in _TYPES; None for what must be pickled."""
    if not isinstance(vector, np.ndarray) or vector.ndim != 1 or vector.nbytes < least or not vector.flags.c_contiguous:
        return None
    return _TYPES.index(vector.dtype) if vector.dtype in _TYPES else None


def _call_body(call: Call, parameters: object, least: int) -> Form | None:
    task, kind = call.task, _type_of(parameters, least)
    batch = task.batch
    if (
        kind is None
        or isinstance(batch, ChosenRows)
        or call.apart
        or call.extra
        or not isinstance(parameters, np.ndarray)
    ):
        return None
    epoch, slices = (-1, ()) if batch is None else (batch.epoch, batch.slices)
    named = _KINDS.index(task.kind), _PARTS.index(task.part), kind
    head = _CALL.pack(CALL, call.number, task.step, *named, len(call.shards), epoch, len(slices))
    rest = struct.pack(f"<{len(call.shards)}I{3 * len(slices)}Q", *call.shards, *chain.from_iterable(slices))
    return head + rest, [parameters.data.cast("B")]


def _call(body: bytes, arrays: Sequence[memoryview]) -> tuple[Call, Vector]:
    _, number, step, task, part, kind, count, epoch, pieces = _CALL.unpack_from(body)
    numbers = struct.unpack_from(f"<{count}I{3 * pieces}Q", body, _CALL.size)
    shards, places = numbers[:count], iter(numbers[count:])
    batch = None if epoch < 0 else Batch(epoch, tuple(map(Slice, places, places, places)))
    call = Call(number, SumTask(_KINDS[task], _PARTS[part], step, batch), shards)
    return call, np.frombuffer(arrays[0], _TYPES[kind])


def _answer_body(answer: CallAnswered, least: int) -> Form | None:
    parts, vectors, kinds = [], [], set()
    for node, partial in answer.partials:
        if not isinstance(partial, PartialSum):
            return None
        kinds.add(_type_of(partial.gradient, least))
        parts.append(
            _PARTIAL.pack(*node, partial.loss, partial.weight, partial.squared_error, partial.rows, partial.correct)
        )
        vectors.append(partial.gradient)
    if len(kinds) != 1 or None in kinds:
        return None
    head = _ANSWER.pack(ANSWER, answer.worker, answer.number, kinds.pop(), len(parts))
    return head + b"".join(parts), [vector.data.cast("B") for vector in vectors]


def _answer(body: bytes, arrays: Sequence[memoryview]) -> CallAnswered:
    _, worker, number, kind, count = _ANSWER.unpack_from(body)
    partials = []
    for index in range(count):
        first, stop, loss, weight, squared, rows, correct = _PARTIAL.unpack_from(
            body, _ANSWER.size + index * _PARTIAL.size
        )
        gradient = np.frombuffer(arrays[index], _TYPES[kind])
        partials.append((Node(first, stop), PartialSum(loss, gradient, weight, squared, rows, correct)))
    return CallAnswered(worker, number, tuple(partials))
