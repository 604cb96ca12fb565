"""How near two vectors are, and a drawn problem's reference."""

from __future__ import annotations

import numpy as np
from references import naive
from strategies import Problem

# A probability or an output near 1 is rounded to 1e-16, so p - t and tanh's 1 - g^2 of a sample that is nearly right, or of a
# neuron that is nearly saturated, have that error, however small they are: errors are not measured against less than this.
FLOOR = 1e-2


def relative_error(found: object, expected: object, floor: float = FLOOR) -> float:
    """The largest difference over the largest number expected, or over `floor`."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max(initial=0.0) / np.abs(expected).max(initial=floor))


def as_lists(case: Problem) -> naive.Net:
    """The same network, written out."""
    return naive.Net.of(case.network.sizes, case.network.activations, case.theta)
