"""Start values of the weights: uniform in [-limit, limit], with a limit for each layer. Biases start at zero.

With n_in the inputs of a layer and n_out its units:

    glorot    sqrt(6 / (n_in + n_out))   Glorot & Bengio 2010, eq. 16: keeps the variance of activations and of the error signal
                                         about equal from layer to layer; for tanh and its like
    he        sqrt(6 / n_in)             He et al. 2015, eq. 10 (variance 2 / n_in): makes up for the half that a relu sets to zero
    lecun     sqrt(3 / n_in)             LeCun et al. 1998, "Efficient BackProp", section 4.6 (variance 1 / n_in): net inputs of
                                         variance 1 for standardised inputs
    uniform   a range of one's own       Rumelhart et al. 1986 start from small random weights

He and LeCun state variances; a uniform distribution of that variance has the limit sqrt(3 x variance). Weights are never all
zero: units that start alike would stay alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from dbp.seeds import generator

InitializerName = Literal["glorot", "he", "lecun", "uniform"]


@dataclass(frozen=True)
class Initializer:
    """A way to draw start weights. ``range`` is the limit of uniform, and of no other; ValueError where it does not fit."""

    name: InitializerName = "glorot"
    range: float | None = None

    def __post_init__(self) -> None:
        if (self.range is not None) != (self.name == "uniform") or not (self.range is None or self.range > 0):
            expected = "a number greater than 0" if self.name == "uniform" else "none"
            raise ValueError(f"range {self.range} for initializer {self.name}; expected {expected}")

    def limit(self, fan_in: int, fan_out: int) -> float:
        """Return the largest magnitude of a weight in a layer."""
        match self.name:
            case "glorot":
                return math.sqrt(6.0 / (fan_in + fan_out))
            case "he":
                return math.sqrt(6.0 / fan_in)
            case "lecun":
                return math.sqrt(3.0 / fan_in)
            case "uniform":
                return float(self.range or 0.0)
            case _:
                assert_never(self.name)

    def draw(self, sizes: Sequence[int], seed: int) -> NDArray[np.float64]:
        """Return the flat start vector (P,) in float64: per layer weights (fan_in, fan_out) row-major, then the bias."""
        pieces = []
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            limit = self.limit(fan_in, fan_out)
            weights = generator(seed, "initial-weights", layer).uniform(-limit, limit, size=fan_in * fan_out)
            pieces += [weights, np.zeros(fan_out)]
        return np.concatenate(pieces)


GLOROT = Initializer()
