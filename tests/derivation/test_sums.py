"""Rows D1 and D2: what follows from the error being a sum over samples."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
from derivation.comparing import relative_error
from hypothesis import given
from hypothesis import strategies as st
from sources import workload
from strategies import problem

import dbp
from dbp.sums.messages import SumTask
from dbp.sums.partial_sum import PartialSum
from dbp.sums.pool import InProcessTransport, TransportPool

CUTS = st.lists(st.integers(1, 59), max_size=12, unique=True).map(sorted)


def _shard_sums(case, cuts: list[int]) -> list[PartialSum]:
    edges = [0, *cuts, len(case.inputs)]
    return [
        dbp.gradient_sum(case.network, case.theta, case.inputs[a:b], case.targets[a:b], case.loss)
        for a, b in pairwise(edges)
    ]


@given(CUTS, st.integers(0, 1000))
def test_d1_the_gradient_is_the_sum_over_shards(cuts, seed):
    """For any cut of the rows, to rounding."""
    case = problem((4, 6, 3), ("tanh", "identity"), "cross_entropy", 60, seed)
    (whole,) = _shard_sums(case, [])
    parts = _shard_sums(case, cuts)
    assert relative_error(np.sum([part.gradient for part in parts], axis=0), whole.gradient) < 1e-12
    assert relative_error([sum(part.loss for part in parts)], [whole.loss]) < 1e-12


@given(CUTS, st.integers(0, 1000))
def test_d1_it_is_exact_where_arithmetic_is(cuts, seed):
    """Small whole numbers through identities make no rounding errors: then every cut gives every bit."""
    case = problem((4, 3, 2), ("identity", "identity"), "squared_error", 60, seed)
    for array in (case.theta, case.inputs, case.targets):
        np.rint(4 * array, out=array)
    (whole,) = _shard_sums(case, [])
    parts = _shard_sums(case, cuts)
    np.testing.assert_array_equal(np.sum([part.gradient for part in parts], axis=0), whole.gradient)
    assert sum(part.loss for part in parts) == whole.loss


def _digest(workers: int, precision: str) -> str:
    load = workload(rows=997, shards=16, precision=precision)
    theta = load.training.network.initial_parameters(1, precision)
    total = TransportPool(InProcessTransport(), workers, load).sum(SumTask("gradient", "train"), theta)
    return hashlib.sha256(total.gradient.tobytes() + str(total.loss).encode()).hexdigest()


def test_d2_the_order_of_the_sum_belongs_to_the_data():
    """Any number of workers in either precision: the same bits, loss and gradient."""
    for precision in ("float32", "float64"):
        assert len({_digest(workers, precision) for workers in (1, 2, 3, 5, 8, 16)}) == 1


def test_d2_another_order_gives_other_bits():
    """The claim is not empty: the same partial sums added from left to right differ from the tree's sum."""
    case = problem((4, 6, 3), ("tanh", "identity"), "squared_error", 60, 1)
    parts = [part.gradient.astype(np.float32) for part in _shard_sums(case, list(range(1, 60)))]
    left_to_right = np.zeros_like(parts[0])
    for part in parts:
        left_to_right += part
    pairs = parts
    while len(pairs) > 1:
        pairs = [sum(pairs[i + 1 : i + 2], pairs[i]) for i in range(0, len(pairs), 2)]
    assert left_to_right.tobytes() != pairs[0].tobytes()
