"""The reduction tree: same bits in any order, for any partition; at least as accurate as adding from left to right."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbp.sums.partial_sum import PartialSum
from dbp.sums.tree import Node, Reduction, ReductionTree, full_tree


def values(count: int, seed: int) -> np.ndarray:
    """Numbers of very different sizes, so that the order of additions shows in the last bits."""
    draw = np.random.default_rng(seed)
    return (draw.standard_normal((count, 7)) * 10.0 ** draw.integers(-4, 5, (count, 7))).astype(np.float32)


def leaf_of(numbers: np.ndarray):
    return lambda shard: PartialSum(float(numbers[shard].sum()), numbers[shard].copy(), weight=1.0, rows=1)


def bits(partial: PartialSum) -> tuple:
    return partial.gradient.tobytes(), partial.loss, partial.weight, partial.rows


@st.composite
def partitions(draw):
    """Shards dealt out to workers in any way at all."""
    count = draw(st.integers(1, 70))
    leaves = draw(st.sets(st.integers(0, count - 1), min_size=1)) if draw(st.booleans()) else set(range(count))
    workers = draw(st.integers(1, 64))
    owners = {leaf: draw(st.integers(0, workers - 1)) for leaf in leaves}
    return count, sorted(leaves), workers, owners, draw(st.integers(0, 2**32))


@given(partitions())
def test_any_partition_over_any_workers_in_any_order_with_duplicates_has_the_same_bits(case):
    count, leaves, workers, owners, seed = case
    tree, leaf = ReductionTree(leaves, count), leaf_of(values(count, seed % 1000))
    messages = []
    for worker in range(workers):
        mine = [shard for shard, owner in owners.items() if owner == worker]
        messages += [(node, tree.sum(node, leaf)) for node in tree.filled_by(mine)]
    shuffle = random.Random(seed)
    messages += [(node, tree.sum(node, leaf)) for node, _ in shuffle.sample(messages, len(messages) // 2)]
    messages += [(Node(shard, shard + 1), leaf(shard)) for shard in shuffle.sample(leaves, len(leaves) // 3)]
    shuffle.shuffle(messages)
    reduction = Reduction(tree)
    for node, partial in messages:
        reduction.add(node, partial)
    assert reduction.complete
    assert bits(reduction.result()) == bits(tree.sum(tree.root, leaf))


def test_the_bits_do_depend_on_the_order_that_the_tree_fixes():
    """The negative control: without the tree, the same additions in another order give other bits."""
    numbers = values(64, 1)
    forwards, backwards = numbers[0].copy(), numbers[-1].copy()
    for row in numbers[1:]:
        forwards += row
    for row in numbers[-2::-1]:
        backwards += row
    assert forwards.tobytes() != backwards.tobytes()


@given(st.integers(1, 300), st.integers(0, 10_000))
def test_the_tree_is_not_less_accurate_than_its_bound(count, seed):
    """Pairwise summation: |error| <= log2(V) u sum|x| (Higham 1993), against math.fsum."""
    numbers = values(count, seed)
    tree = full_tree(count)
    total = tree.sum(tree.root, leaf_of(numbers)).gradient
    for column in range(numbers.shape[1]):
        exact = math.fsum(float(x) for x in numbers[:, column])
        bound = math.ceil(math.log2(count) + 1) * 2.0**-24 * math.fsum(abs(float(x)) for x in numbers[:, column])
        assert abs(float(total[column]) - exact) <= bound


@pytest.mark.parametrize("count", [16, 64, 256])
def test_the_tree_is_at_least_as_accurate_as_left_to_right(count):
    """Root mean square error over many sums, against math.fsum."""
    tree, squared_tree, squared_line = full_tree(count), 0.0, 0.0
    for seed in range(40):
        numbers = np.abs(values(count, seed))
        line = numbers[0].copy()
        for row in numbers[1:]:
            line += row
        total = tree.sum(tree.root, leaf_of(numbers)).gradient
        exact = np.array([math.fsum(float(x) for x in numbers[:, column]) for column in range(numbers.shape[1])])
        squared_tree += float((((total - exact) / exact) ** 2).sum())
        squared_line += float((((line - exact) / exact) ** 2).sum())
    assert squared_tree <= squared_line


@given(st.integers(1, 256), st.integers(1, 64))
def test_a_worker_with_a_run_of_shards_sends_few_nodes(count, workers):
    tree = full_tree(count)
    for worker in range(workers):
        mine = range(count * worker // workers, count * (worker + 1) // workers)
        assert len(tree.filled_by(mine)) <= 2 * math.ceil(math.log2(count) + 1)


def test_half_of_a_power_of_two_is_one_node():
    assert full_tree(32).filled_by(range(16)) == [Node(0, 16)]
    assert full_tree(32).filled_by(range(16, 32)) == [Node(16, 32)]


def test_a_parent_with_one_child_is_that_child():
    tree = ReductionTree([5], 8)
    assert tree.root == Node(5, 6)
    assert ReductionTree([0, 5, 6], 8).children[Node(0, 8)] == (Node(0, 1), Node(4, 8))


def test_a_node_that_is_not_in_the_tree_is_refused():
    reduction = Reduction(full_tree(8))
    with pytest.raises(KeyError, match="no node of the tree"):
        reduction.add(Node(1, 3), PartialSum(0.0, np.zeros(1), 1.0))


def test_an_array_of_another_process_is_never_written_to():
    """What arrives through shared memory is read-only; adding makes a new array then."""
    left, right = PartialSum(1.0, np.ones(3), 1.0), PartialSum(2.0, np.ones(3), 1.0)
    left.gradient.flags.writeable = False
    total = left.add(right)
    assert total.gradient.tolist() == [2, 2, 2]
    assert left.gradient.tolist() == right.gradient.tolist() == [1, 1, 1]


@pytest.mark.parametrize("other", [np.zeros(1, np.float32), np.zeros(5, np.float32), np.zeros(4)])
def test_sums_of_another_shape_or_precision_are_never_added(other):
    """An answer that cannot be right is a bug, and named as one; numpy would stretch an array of one number."""
    whole = PartialSum(1.0, np.ones(4, np.float32), 1.0)
    with pytest.raises(RuntimeError, match="do not belong together"):
        whole.add(PartialSum(1.0, other, 1.0))
    assert whole.gradient.tobytes() == np.ones(4, np.float32).tobytes()
