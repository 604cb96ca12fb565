"""The form of the messages of every step: against pickling the same messages."""

from __future__ import annotations

import pickle
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbp.errors import DataError
from dbp.sums.batches import Batch, ChosenRows, Slice
from dbp.sums.messages import Call, CallAnswered, CallRaised, SumTask
from dbp.sums.partial_sum import PartialSum
from dbp.sums.tree import Node
from dbp.workers.packing import APART_BYTES, Packed, pack, unpack

numbers = st.floats(width=64)
counts = st.integers(0, 2**62)
kinds = st.sampled_from(["gradient", "curvature", "loss", "load", "summarize"])
types = st.sampled_from([np.float32, np.float64])
LONG = APART_BYTES // 4


def plain(message: object) -> bytes:
    return pickle.dumps(message, protocol=5)


def carried(message: object) -> tuple[bytes, object]:
    """Return the body, and what arrives: as from another process, with arrays that are read-only."""
    packed = pack(message)
    arrays = [memoryview(bytes(array)) for array in packed.arrays]
    return packed.body, unpack(Packed(packed.body, arrays))


slices = st.builds(Slice, counts, counts, counts)
batches = st.none() | st.builds(Batch, counts, st.lists(slices, max_size=5).map(tuple))


@given(
    counts, kinds, st.sampled_from(["train", "validation"]), counts, batches, st.lists(st.integers(0, 2**32 - 1)), types
)
def test_a_call_arrives_as_it_was(number, kind, part, step, batch, shards, dtype):
    call = Call(number, SumTask(kind, part, step, batch), tuple(shards))
    parameters = np.linspace(-1, 1, LONG).astype(dtype)
    body, (got, vector) = carried((call, parameters))
    assert body[:1] == b"C"
    assert plain(got) == plain(call)
    assert vector.dtype == parameters.dtype
    assert vector.tobytes() == parameters.tobytes()
    assert not vector.flags.writeable


def scalars_of(sums: PartialSum) -> bytes:
    return plain([getattr(sums, each.name) for each in fields(sums) if each.name != "gradient"])


partials = st.builds(PartialSum, numbers, st.none(), numbers, numbers, counts, counts)


@given(counts, st.integers(0, 2**32 - 1), st.lists(partials, min_size=1, max_size=5), types)
def test_an_answer_arrives_as_it_was(number, worker, sums, dtype):
    gradients = [np.full(LONG + index, index + 0.5, dtype) for index in range(len(sums))]
    scalars = [{f.name: getattr(each, f.name) for f in fields(each)} for each in sums]
    given_sums = [PartialSum(**{**one, "gradient": g}) for one, g in zip(scalars, gradients, strict=True)]
    answer = CallAnswered(worker, number, tuple((Node(i, i + 1), each) for i, each in enumerate(given_sums)))
    body, got = carried(answer)
    assert body[:1] == b"A"
    assert (got.worker, got.number) == (worker, number)
    for (node, each), (sent_node, sent) in zip(got.partials, answer.partials, strict=True):
        assert node == sent_node
        assert scalars_of(each) == scalars_of(sent), "bit for bit: NaN and -0 included"
        assert each.gradient.dtype == dtype
        assert each.gradient.tobytes() == sent.gradient.tobytes()
        assert not each.gradient.flags.writeable


@pytest.mark.parametrize(
    "message",
    [
        (Call(1, SumTask("gradient", "train", 3, ChosenRows(())), (0,)), np.zeros(LONG, np.float32)),
        (Call(1, SumTask("gradient", "train"), (0, 1), apart=(1,)), np.zeros(LONG, np.float32)),
        (Call(1, SumTask("gradient", "train"), (0,), extra=(2,)), np.zeros(LONG, np.float32)),
        (Call(1, SumTask("gradient", "train"), (0,)), np.zeros(3, np.float32)),
        (Call(1, SumTask("gradient", "train"), (0,)), np.zeros(2 * LONG, np.float32)[::2]),
        (Call(1, SumTask("load", "train"), (0,)), None),
        CallAnswered(1, 2, ((Node(0, 1), PartialSum(0.0, np.empty(0, np.float32), 1.0)),)),
        CallAnswered(1, 2, ()),
        CallRaised(1, 2, DataError("t.csv: row 3")),
    ],
)
def test_other_messages_are_pickled(message):
    body, got = carried(message)
    assert body[:1] == b"\x80"
    assert str(got) == str(message)
