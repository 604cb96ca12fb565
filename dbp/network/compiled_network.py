"""A network in the compiled kernel's terms: packed weights, buffers for one block, and the calls.

Everything a call needs is allocated here, once; a call allocates nothing. An instance is used by one thread at a time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dbp.network import compiled
from dbp.network.compiled import PAD, address

Array = NDArray[np.floating]
Classes = NDArray[np.int32]

BLOCK_ROWS, LONG_BLOCK_ROWS = 128, 256
MANY_PARAMETERS = 100_000


class Sums(NamedTuple):
    """Sums over rows, float64; `correct` counts rows classified right, where no gradient was asked for."""

    loss: float
    squared_error: float
    correct: int


def block_rows(parameters: int) -> int:
    """Return the rows of a block for a network of so many parameters.

    Measured: short blocks keep the activations in the cache; many parameters want longer ones, because each block reads and writes
    the whole gradient. Blocks decide where sums begin anew, so this is a function of the network alone.
    """
    return BLOCK_ROWS if parameters < MANY_PARAMETERS else LONG_BLOCK_ROWS


def _padded(units: int) -> int:
    return -(-units // PAD) * PAD


def _stride(units: int) -> int:
    return 1 if units == 1 else _padded(units)


def known_rows(targets: Array | Classes, weights: Array | None) -> compiled.Known:
    """Return what is known of some rows in the kernel's terms, which does not keep the arrays."""
    numbers, classes = (None, targets) if targets.ndim == 1 else (targets, None)
    return compiled.Known(address(numbers), address(classes), address(weights))


class CompiledNetwork:
    """Layers of `sizes` with activation and loss codes (their places in the lists of names), for one precision."""

    def __init__(
        self,
        sizes: Sequence[int],
        activations: Sequence[int],
        loss: int,
        dtype: np.dtype[np.floating],
        *,
        trains: bool,
        huber_delta: float = 1.0,
        block: int | None = None,
        instructions: str | None = None,
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._call = compiled.functions(self._dtype.name, instructions)
        self._sizes = tuple(sizes)
        self._trains = trains
        self._parameters = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))
        self.block_rows = block or block_rows(self._parameters)
        self._memory: list[NDArray[np.generic]] = []
        self._jacobian: list[int] = []  # room for the rows of one block and their packed copy, once asked for
        self._layers = (compiled.Layer * (len(sizes) - 1))()
        for depth, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            self._fill(self._layers[depth], fan_in, fan_out, activations[depth], back=trains and depth > 0)
        self._network = self._structure(loss, huber_delta)

    def pack(self, theta: Array) -> None:
        """Take the parameters (P,) for the calls that follow."""
        self._call.pack(ctypes.byref(self._network), address(theta))

    def forward(self, inputs: Array) -> Array:
        """Return the outputs (rows, N_L) for inputs (rows, N_0), contiguous and of the network's precision."""
        outputs = np.empty((len(inputs), self._sizes[-1]), self._dtype)
        self._call.forward(ctypes.byref(self._network), len(inputs), address(inputs), address(outputs))
        return outputs

    def sums(
        self,
        inputs: Array,
        targets: Array | Classes,
        weights: Array | None = None,
        gradient: Array | None = None,
        signals: Sequence[Array] | None = None,
    ) -> Sums:
        """Return the sums of the errors over rows; overwrite `gradient` (P,) with theirs, `signals` with S1, S2 per layer.

        inputs (rows, N_0), targets (rows, N_L) or class indices (rows,) int32, weights (rows,): contiguous, in the network's
        precision.
        """
        known, found = known_rows(targets, weights), compiled.Result()
        pointers = (ctypes.c_void_p * len(signals))(*map(address, signals)) if signals else None
        if signals and not self._layers[0].transposed:
            raise ValueError("error signals were asked for without their first layer being packed")
        self._call.sums(
            *(ctypes.byref(self._network), len(inputs), address(inputs), ctypes.byref(known)),
            *(self._parameters, address(gradient), pointers, ctypes.byref(found)),
        )
        return Sums(found.loss, found.squared_error, found.correct)

    def task(self, theta: Array) -> compiled.Task:
        """Return a task, for sums at theta (P,), that lacks leaves and room for results; see `tree_sums`."""
        return compiled.Task(
            **self._call.places,
            network=ctypes.addressof(self._network),
            theta=address(theta),
            parameters=self._parameters,
        )

    def gauss_newton(self, inputs: Array, weights: Array | None, gram: Array) -> None:
        """Overwrite `gram` (P, P) with the upper triangle of J'J summed over rows and outputs, and zeros below.

        J is the Jacobian of the outputs by the parameters; weights (rows,) or None count rows as in `sums`.
        """
        stride = _padded(self._parameters)
        if not self._jacobian:
            self._jacobian = [self._zeros(self.block_rows * stride) for _ in range(2)]
        jacobian, panels = self._jacobian
        self._call.gauss_newton(
            *(ctypes.byref(self._network), len(inputs), address(inputs), address(weights)),
            *(self._parameters, address(gram), jacobian, stride, panels),
        )

    def loss(
        self, outputs: Array, targets: Array | Classes, weights: Array | None = None, delta: Array | None = None
    ) -> Sums:
        """Return the sums of the errors of outputs (rows, N_L), as `sums` would; write dE/dy (rows, N_L) into `delta`."""
        known, found = known_rows(targets, weights), compiled.Result()
        self._call.loss(
            *(ctypes.byref(self._network), len(outputs), address(outputs), ctypes.byref(known)),
            *(address(delta), ctypes.byref(found)),
        )
        return Sums(found.loss, found.squared_error, found.correct)

    def pack_first_transposed(self) -> None:
        """Have error signals reach the inputs, too; call it before `pack`."""
        self._layers[0].transposed = self._packed(self._sizes[1], self._sizes[0])

    def _fill(self, layer: compiled.Layer, fan_in: int, fan_out: int, activation: int, *, back: bool) -> None:
        layer.inputs, layer.outputs, layer.stride, layer.activation = fan_in, fan_out, _stride(fan_out), activation
        layer.weights = self._packed(fan_in, fan_out)
        layer.bias = self._zeros(_padded(fan_out))
        layer.output = self._zeros(self.block_rows * layer.stride)
        if back:
            layer.transposed = self._packed(fan_out, fan_in)
        if self._trains:
            layer.delta = self._zeros(self.block_rows * layer.stride)

    def _packed(self, depth: int, columns: int) -> int:
        """Room for a matrix as panels, or as padded rows (few columns)."""
        return self._zeros(_padded(depth) * _padded(columns))

    def _zeros(self, size: int, dtype: np.dtype[np.floating] | None = None) -> int:
        memory = compiled.zeros((size,), dtype or self._dtype)
        self._memory.append(memory)
        return memory.ctypes.data

    def _structure(self, loss: int, huber_delta: float) -> ctypes.Structure:
        rows, last = self.block_rows, self._sizes[-1]
        double = np.dtype(np.float64)
        structure = compiled.network_structure(self._dtype)(
            layers=len(self._layers), loss=loss, block_rows=rows, layer=self._layers, limit=huber_delta
        )
        if self._trains:
            structure.strip = self._zeros(rows * compiled.FEATURES)
            structure.panels = self._zeros(rows * _padded(max(self._sizes[1:])))
            structure.targets = self._zeros(rows * last)
            structure.sum_of_exp, structure.offset = self._zeros(rows, double), self._zeros(rows, double)
        return structure
