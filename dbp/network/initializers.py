"""Start values of the weights.

Glorot & Bengio 2010, eq. 16: weights uniform in +-sqrt(6 / (fan_in + fan_out)), which keeps the variance of activations and of
the error signal about equal from layer to layer. Biases start at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dbp.seeds import generator


def glorot_uniform(sizes: Sequence[int], seed: int) -> NDArray[np.float64]:
    """Return the flat start vector (P,) in float64: per layer weights (fan_in, fan_out) row-major, then the bias."""
    pieces = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        limit = np.sqrt(6.0 / (fan_in + fan_out))
        weights = generator(seed, "initial-weights", layer).uniform(-limit, limit, size=fan_in * fan_out)
        pieces += [weights, np.zeros(fan_out)]
    return np.concatenate(pieces)
