"""Sums over the leaves of trees, by one call and by a crew of threads: the bits of one sum after the other."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dbp import Network
from dbp.errors import JobFailedError
from dbp.network import compiled
from dbp.network.backprop import Kernel
from dbp.network.crew import Crew
from dbp.network.tree_sums import Leaf, Leaves, TreesTask
from dbp.sums.tree import full_tree

NETWORK = Network((5, 7, 3), ("tanh", "identity"))


class Rows:
    """Rows of some leaves, a kernel of their own, and parameters."""

    def __init__(self, leaves: int, precision: str, weighted: bool, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.kernel = Kernel(NETWORK, "cross_entropy", np.dtype(precision))
        self.theta = NETWORK.initial_parameters(seed, precision)
        self.rows: list[tuple[Any, Any, Any]] = []
        for _ in range(leaves):
            count = int(draw.integers(1, 300))
            weights = draw.random(count).astype(precision) if weighted else None
            inputs = draw.standard_normal((count, 5)).astype(precision)
            self.rows.append((inputs, draw.integers(0, 3, count).astype(np.int32), weights))

    def leaves(self, nodes: list[Any]) -> Leaves:
        tree = full_tree(len(self.rows))
        return Leaves([Leaf(*self.rows[leaf], due) for node in nodes for leaf, due in tree.additions(node)])

    def task(self, nodes: list[Any]) -> tuple[TreesTask, list[NDArray[Any]]]:
        leaves = self.leaves(nodes)
        gradients = [np.full_like(self.theta, np.nan) for _ in range(leaves.room)]
        return self.kernel.trees_task(self.theta, leaves, gradients), gradients

    def one_by_one(self, node: Any) -> tuple[float, float, bytes]:
        """What a subtree's sums should be, added as the tree says."""
        self.kernel.move_to(self.theta)

        def leaf(number: int) -> Any:
            gradient = np.empty_like(self.theta)
            inputs, classes, weights = self.rows[number]
            sums = self.kernel.gradient_sum(inputs, classes, gradient, weights)
            return sums.loss, sums.squared_error, gradient

        def of(node: Any) -> Any:
            children = full_tree(len(self.rows)).children.get(node)
            if children is None:
                return leaf(node.first)
            left, right = of(children.left), of(children.right)
            return left[0] + right[0], left[1] + right[1], left[2] + right[2]

        loss, squared, gradient = of(node)
        return loss, squared, gradient.tobytes()


def results(task: TreesTask, gradients: list[NDArray[Any]]) -> list[tuple[float, float, bytes]]:
    return [
        (sums.loss, sums.squared_error, gradient.tobytes())
        for sums, gradient in zip(task.sums(), gradients, strict=False)
    ]


@pytest.mark.parametrize("precision", ["float32", "float64"])
@given(
    leaves=st.integers(1, 11),
    owned=st.sets(st.integers(0, 10), min_size=1),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_any_subtrees_have_the_bits_of_one_sum_after_the_other(
    precision: str, leaves: int, owned: set[int], weighted: bool, seed: int
) -> None:
    rows = Rows(leaves, precision, weighted, seed)
    nodes = full_tree(leaves).filled_by({shard % leaves for shard in owned})
    task, gradients = rows.task(nodes)
    task.carry_out()
    assert results(task, gradients) == [rows.one_by_one(node) for node in nodes]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_a_crew_has_the_bits_of_one_thread(threads: int) -> None:
    """Over and over, with as many tasks as threads and with fewer, at once and after the threads went to sleep."""
    crew = Crew(threads)
    all_rows = [Rows(5, "float32", False, seed) for seed in range(threads)]
    root = full_tree(5).root
    expected = [[rows.one_by_one(root)] for rows in all_rows]
    for turn in range(200):
        asked = 1 + turn % threads
        tasks = [rows.task([root]) for rows in all_rows[:asked]]
        crew.run([task for task, _ in tasks])
        assert [results(*each) for each in tasks] == expected[:asked]
        if turn % 50 == 49:
            threading.Event().wait(0.01)
    crew.close()
    crew.close()


def test_a_crew_without_anything_to_do_ends() -> None:
    """Also one that nobody closes."""
    Crew(4).close()
    crew = Crew(3)
    crew.run([])
    del crew
    gc.collect()


def test_more_tasks_than_threads() -> None:
    rows = Rows(1, "float64", False)
    with pytest.raises(ValueError, match="2 tasks for 1 threads"):
        Crew(1).run([rows.task([full_tree(1).root])[0]] * 2)


def test_a_system_that_gives_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = compiled.crew_functions()
    monkeypatch.setattr(
        compiled,
        "crew_functions",
        lambda: compiled.CrewFunctions(lambda members: None, calls.run, calls.end, calls.carry_out),
    )
    with pytest.raises(JobFailedError, match="the system gives no 5 threads; expected fewer"):
        Crew(5)


def test_leaves_that_make_no_trees() -> None:
    rows = Rows(2, "float64", False)
    with pytest.raises(ValueError, match="1 additions to 0 sums"):
        Leaves([Leaf(*rows.rows[0], 1)])
    leaves = rows.leaves([full_tree(2).root])
    with pytest.raises(ValueError, match="1 gradients; expected 2"):
        rows.kernel.trees_task(rows.theta, leaves, [rows.theta])
    with pytest.raises(ValueError, match="parameters: float32; expected float64"):
        rows.kernel.trees_task(rows.theta.astype(np.float32), leaves, [rows.theta] * 2)


def test_a_crew_that_was_closed() -> None:
    rows, crew = Rows(1, "float64", False), Crew(2)
    crew.close()
    with pytest.raises(RuntimeError, match="tasks for a crew that was closed"):
        crew.run([rows.task([full_tree(1).root])[0]])


LEAVING = """
import os, sys, threading, time
from dbp.network.crew import Crew
crew = Crew(3)
time.sleep(0.01)
if sys.argv[1] == "fork":
    child = os.fork()
    if not child:
        sys.exit(3)  # with all that Python does at its end
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
def work():
    while True:
        crew.run([])
threading.Thread(target=work, daemon=True).start()
time.sleep(0.05)
sys.exit(3)
"""


@pytest.mark.parametrize("way", ["fork", "thread"])
def test_a_process_that_ends_with_a_crew(way: str) -> None:
    """A forked child has none of its threads; and a thread of Python's may use it to the very end."""
    for _ in range(5):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", LEAVING, way], timeout=60, check=False)
        assert done.returncode == 3
