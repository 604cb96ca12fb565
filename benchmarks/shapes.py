"""The four networks that everything is measured on, and rows made up for them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dbp import Network
from dbp.sums.messages import EncodedRows


@dataclass(frozen=True)
class Shape:
    """A network of tanh layers with a linear output, and how many rows it is measured on."""

    sizes: tuple[int, ...]
    rows: int

    @property
    def name(self) -> str:
        return "-".join(map(str, self.sizes))

    @property
    def network(self) -> Network:
        return Network(self.sizes, [*["tanh"] * (len(self.sizes) - 2), "identity"])

    @property
    def operations(self) -> int:
        """Multiplications and additions of one gradient: forward, weight gradients, and the signal back but to the inputs."""
        products = [i * o for i, o in pairwise(self.sizes)]
        return self.rows * (6 * sum(products) - 2 * products[0])


SHAPES = (
    Shape((784, 512, 256, 10), 20_000),
    Shape((784, 1024, 1024, 10), 10_000),
    Shape((100, 64, 64, 1), 100_000),
    Shape((20, 32, 1), 200_000),
)


@dataclass(frozen=True)
class MadeUpRows:
    """A source of rows as workers see it; a shard's rows are drawn from its own place."""

    features: int
    outputs: int

    def summarize(self, part: object, start: int, stop: int) -> None:
        raise NotImplementedError("made-up rows have no columns")

    def encode(
        self, part: object, start: int, stop: int, encoding: object, dtype: np.dtype[np.floating]
    ) -> EncodedRows:
        draw = np.random.default_rng(start)
        shapes = ((stop - start, self.features), (stop - start, self.outputs))
        inputs, targets = (draw.standard_normal(shape).astype(dtype) for shape in shapes)
        return EncodedRows(inputs, targets)
