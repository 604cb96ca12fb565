"""A fully connected network: its sizes, its activations and its flat parameter vector (rows F1-F3 of the derivation)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dbp.network.activations import ACTIVATION_NAMES, ActivationName, activation_code
from dbp.network.compiled_network import CompiledNetwork
from dbp.network.initializers import GLOROT, Initializer

Array = NDArray[np.floating]
Precision = Literal["float32", "float64"]


@dataclass(frozen=True)
class LayerParameters:
    """Views of one layer's part of a flat vector: weights (fan_in, fan_out), bias (fan_out,)."""

    weights: Array
    bias: Array


@dataclass(frozen=True)
class Network:
    """Layers of neurons, each fed by all of the layer before.

    ``sizes`` are the numbers of units from the inputs to the outputs, e.g. (2, 3, 1); ``activations`` has one name per layer after
    the inputs. A parameter vector theta is flat, of shape (P,): per layer the weights (fan_in, fan_out) row-major, then
    the bias (fan_out,).

    Raises ValueError for fewer than two sizes, a size below 1, or activations that do not fit.
    """

    sizes: tuple[int, ...]
    activations: tuple[ActivationName, ...]

    def __init__(self, sizes: Sequence[int], activations: Sequence[ActivationName]) -> None:
        if len(sizes) < 2 or any(not 1 <= size < math.inf or int(size) != size for size in sizes):
            raise ValueError(f"sizes: {tuple(sizes)}; expected at least two whole numbers of 1 or more")
        if len(activations) != len(sizes) - 1:
            raise ValueError(
                f"activations: {len(activations)} given for {len(sizes) - 1} layers; expected one per layer after the input"
            )
        for name in activations:
            if name not in ACTIVATION_NAMES:
                raise ValueError(f"{name!r} is not an activation; expected one of: {', '.join(ACTIVATION_NAMES)}")
        object.__setattr__(self, "sizes", tuple(int(size) for size in sizes))
        object.__setattr__(self, "activations", tuple(activations))

    @cached_property
    def parameter_count(self) -> int:
        """P, the length of a parameter vector."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(self.sizes))

    @cached_property
    def weight_spans(self) -> tuple[slice, ...]:
        """Where each layer's weights lie in a parameter vector, from the first layer to the last."""
        spans, start = [], 0
        for fan_in, fan_out in pairwise(self.sizes):
            spans.append(slice(start, start + fan_in * fan_out))
            start += (fan_in + 1) * fan_out
        return tuple(spans)

    @property
    def trainable(self) -> bool:
        """Whether backpropagation can train it: no threshold anywhere."""
        return "threshold" not in self.activations

    def layers(self, theta: Array) -> Iterator[LayerParameters]:
        """Yield each layer's views of the flat vector `theta` (P,), from the first layer to the last."""
        self.check_shape(theta)
        start = 0
        for fan_in, fan_out in pairwise(self.sizes):
            stop = start + fan_in * fan_out
            yield LayerParameters(theta[start:stop].reshape(fan_in, fan_out), theta[stop : stop + fan_out])
            start = stop + fan_out

    def check_shape(self, theta: Array) -> None:
        """Raise ValueError unless `theta` has the shape (P,)."""
        if theta.shape != (self.parameter_count,):
            raise ValueError(
                f"parameters: shape {theta.shape}; expected ({self.parameter_count},) for sizes {self.sizes}"
            )

    def check_vector(self, theta: Array) -> None:
        """Raise ValueError unless `theta` has the shape (P,) and is float32 or float64."""
        if theta.dtype not in (np.float32, np.float64) or not theta.dtype.isnative:
            raise ValueError(f"parameters: dtype {theta.dtype}; expected float32 or float64")
        self.check_shape(theta)

    def initial_parameters(self, seed: int, dtype: Precision = "float32", initializer: Initializer = GLOROT) -> Array:
        """Return the start vector (P,) for `seed`: random weights, zero biases, drawn in float64 and rounded."""
        return initializer.draw(self.sizes, seed).astype(dtype)

    def forward(self, theta: Array, inputs: ArrayLike) -> Array:
        """Return the outputs (rows, N_out) for `inputs` (rows, N_0), in the dtype of `theta`.

        Raises ValueError when the inputs are not a matrix with N_0 columns.
        """
        self.check_vector(theta)
        matrix = as_matrix(inputs, theta.dtype, self.sizes[0], "inputs")
        codes = [activation_code(name) for name in self.activations]
        compiled = CompiledNetwork(self.sizes, codes, loss=0, dtype=theta.dtype, trains=False)
        compiled.pack(np.ascontiguousarray(theta))
        return compiled.forward(matrix)


def as_matrix(values: ArrayLike, dtype: np.dtype[np.floating], columns: int, what: str) -> Array:
    """Return `values` as a C-contiguous (rows, columns) array of `dtype`; ValueError names `what` if it does not fit."""
    matrix = np.ascontiguousarray(values, dtype=dtype)
    if matrix.ndim == 1 and columns == 1:
        matrix = matrix.reshape(-1, 1)
    if matrix.ndim != 2 or matrix.shape[1] != columns:
        raise ValueError(f"{what}: shape {matrix.shape}; expected (rows, {columns})")
    return matrix
