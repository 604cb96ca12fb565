"""The fixed reduction tree: the signature of the project.

Partial sums are added along one binary tree over the shard numbers: pairwise summation (Higham 1993, "The accuracy of floating
point summation"), whose error grows with log V instead of V. The tree is a function of the leaves alone. Whoever computes
a node, in whatever order, how often and with however many workers, its bits are the same; so retries, duplicates and late answers
are free of consequence.

A node is named by its range of shard numbers, (first, last + 1). Shards that take no part in a step (a batch of a few rows) are no
leaves, and a parent with one child only is that child.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

from dbp.sums.partial_sum import Summand

S = TypeVar("S", bound=Summand)


class Node(NamedTuple):
    """The shards first .. stop-1."""

    first: int
    stop: int


class Children(NamedTuple):
    """The two operands of an addition, in order."""

    left: Node
    right: Node


class ReductionTree:
    """The tree over some leaves (shard numbers, increasing, at least one) out of `count` shards."""

    def __init__(self, leaves: Iterable[int], count: int) -> None:
        self.leaves = tuple(leaves)
        self.children: dict[Node, Children] = {}
        self.parent: dict[Node, Node] = {}
        self.root = self._build(Node(0, count))

    def _build(self, span: Node) -> Node:
        """Return the node for the leaves within `span`, a span that has some."""
        low, high = bisect_left(self.leaves, span.first), bisect_left(self.leaves, span.stop)
        if high - low == 1:
            return Node(self.leaves[low], self.leaves[low] + 1)
        half = 1 << (span.stop - span.first - 1).bit_length() - 1
        middle = span.first + half
        cut = bisect_left(self.leaves, middle)
        if cut == low:
            return self._build(Node(middle, span.stop))
        if cut == high:
            return self._build(Node(span.first, middle))
        left, right = self._build(Node(span.first, middle)), self._build(Node(middle, span.stop))
        self.children[span] = Children(left, right)
        self.parent[left] = self.parent[right] = span
        return span

    def leaves_below(self, node: Node) -> tuple[int, ...]:
        """Return the leaves of the subtree of `node`."""
        return self.leaves[bisect_left(self.leaves, node.first) : bisect_left(self.leaves, node.stop)]

    def filled_by(self, owned: Iterable[int]) -> list[Node]:
        """Return the largest nodes whose leaves are all among `owned`, in order: what a worker with these shards sends."""
        mine = frozenset(owned)
        filled: list[Node] = []
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            below = self.leaves_below(node)
            held = sum(shard in mine for shard in below)
            if held == len(below):
                filled.append(node)
            elif held:
                waiting += reversed(self.children[node])
        return filled

    def additions(self, node: Node) -> list[tuple[int, int]]:
        """Return the leaves of a node, in order, each with how many additions are due after it: of the last sum to the one before.

        So `sum` without its calls: the same additions in the same order.
        """
        children = self.children.get(node)
        if children is None:
            return [(node.first, 0)]
        *before, (last, due) = self.additions(children.left) + self.additions(children.right)
        return [*before, (last, due + 1)]

    def sum(self, node: Node, leaf: Callable[[int], S], spent: Callable[[S], None] = lambda partial: None) -> S:
        """Return the sum of a node's leaves; `leaf` makes the partial sum of one shard.

        At most one partial sum per level of the tree is alive at a time. `spent` is told of each right operand once it has been
        added, so that its memory can be used again.
        """
        children = self.children.get(node)
        if children is None:
            return leaf(node.first)
        left = self.sum(children.left, leaf, spent)
        right = self.sum(children.right, leaf, spent)
        total = left.add(right)
        spent(right)
        return total


@lru_cache(maxsize=8)
def full_tree(count: int) -> ReductionTree:
    """Return the tree in which all `count` shards take part."""
    return ReductionTree(range(count), count)


class Reduction(Generic[S]):
    """Collects sums of subtrees in any order and adds siblings as soon as both are there.

    A node that is already covered, by itself or by an ancestor, is ignored: the first answer wins, and it makes no difference.
    """

    def __init__(self, tree: ReductionTree) -> None:
        self._tree = tree
        self._sums: dict[Node, S] = {}

    @property
    def complete(self) -> bool:
        """Whether the root is known."""
        return self._tree.root in self._sums

    def result(self) -> S:
        """Return the sum at the root; KeyError before it is complete."""
        return self._sums[self._tree.root]

    def add(self, node: Node, partial: S) -> None:
        """Take the sum of one subtree. KeyError for a node that is not in the tree."""
        if node != self._tree.root and node not in self._tree.parent:
            raise KeyError(f"{node} is no node of the tree over {len(self._tree.leaves)} shards")
        if self._covered(node):
            return
        self._forget_below(node)
        while node != self._tree.root:
            parent = self._tree.parent[node]
            left, right = self._tree.children[parent]
            sibling = right if node == left else left
            if sibling not in self._sums:
                break
            other = self._sums.pop(sibling)
            partial = partial.add(other) if node == left else other.add(partial)
            node = parent
        self._sums[node] = partial

    def keep(self) -> None:
        """Copy what is borrowed: somebody who answered is about to be called again, and will write over the answer's memory."""
        self._sums = {node: partial.owned() for node, partial in self._sums.items()}

    def _covered(self, node: Node) -> bool:
        while node not in self._sums:
            if node == self._tree.root:
                return False
            node = self._tree.parent[node]
        return True

    def _forget_below(self, node: Node) -> None:
        inside = [known for known in self._sums if node.first <= known.first and known.stop <= node.stop]
        for known in inside:
            del self._sums[known]
