"""Gradients and sums of errors over the leaves of trees of sums, by one call to the kernel: all that a worker owes in a step.

What does not change from step to step is found out once, and no part of the call needs Python: so it can be carried out by
a thread that is none of Python's (`crew`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dbp.network import compiled
from dbp.network.compiled import address
from dbp.network.compiled_network import CompiledNetwork, Sums, known_rows

Array = NDArray[np.floating]


class Leaf(NamedTuple):
    """Some rows whose sums are a leaf: inputs (rows, N_0), targets and weights as in `CompiledNetwork.sums`.

    `additions` is how many are due after it, each of the last sum to the one before it.
    """

    inputs: Array
    targets: Array | NDArray[np.int32]
    weights: Array | None
    additions: int


class Leaves:
    """The leaves of some trees, from left to right, in the kernel's terms, for many calls. Keeps their rows."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self._held = tuple(leaves)
        self.structures = (compiled.Leaf * len(leaves))()
        waiting = most = 0
        for here, leaf in zip(self.structures, leaves, strict=True):
            here.rows, here.inputs, here.additions = len(leaf.inputs), address(leaf.inputs), leaf.additions
            here.known = known_rows(leaf.targets, leaf.weights)
            most = max(most, waiting + 1)
            if leaf.additions > waiting:
                raise ValueError(f"{leaf.additions} additions to {waiting} sums; expected at most as many")
            waiting += 1 - leaf.additions
        self.trees = waiting
        self.room = most  # sums that are there at once


class TreesTask:
    """The sums over leaves at parameters theta (P,), contiguous and of the network's precision: to be carried out once.

    `gradients` (P,), `leaves.room` of them, are written over; the first ones, one for each tree, are the trees' then. The bits
    are those of `CompiledNetwork.sums` over each leaf, added as the leaves say. Nobody else uses the network meanwhile.
    """

    def __init__(self, network: CompiledNetwork, theta: Array, leaves: Leaves, gradients: Sequence[Array]) -> None:
        if len(gradients) != leaves.room:
            raise ValueError(f"{len(gradients)} gradients; expected {leaves.room}")
        pointers = (ctypes.c_void_p * leaves.room)(*map(address, gradients))
        self._results = (compiled.Result * leaves.room)()
        self._held = (network, theta, leaves, gradients, pointers)
        self._trees = leaves.trees
        self.structure = network.task(theta)
        self.structure.count, self.structure.leaves = len(leaves.structures), ctypes.addressof(leaves.structures)
        self.structure.gradient, self.structure.found = ctypes.addressof(pointers), ctypes.addressof(self._results)

    def carry_out(self) -> None:
        """Do it in this thread."""
        compiled.crew_functions().carry_out(ctypes.byref(self.structure))

    def sums(self) -> list[Sums]:
        """Return the sums of the errors of each tree, once it is done."""
        return [Sums(found.loss, found.squared_error, 0) for found in self._results[: self._trees]]
