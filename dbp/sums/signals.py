"""How large the error signal is at each neuron (S5): the root mean square of delta over some rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dbp.network.backprop import Kernel
from dbp.network.losses import LossName
from dbp.network.network import Network

Array = NDArray[np.floating]


def spread_rows(rows: int, most: int, pieces: int = 40) -> list[tuple[int, int]]:
    """Return row ranges [start, stop) of at most `most` rows in all, spread evenly over `rows`: a table may be sorted."""
    if rows <= most:
        return [(0, rows)]
    pieces = min(pieces, most)
    length = most // pieces
    starts = [(rows - length) * piece // max(1, pieces - 1) for piece in range(pieces)]
    return [(start, start + length) for start in starts]


class Probe:
    """Some rows at which error signals are measured: inputs (rows, N_0), and targets as the kernel takes them."""

    def __init__(
        self, network: Network, loss: LossName, huber_delta: float, inputs: Array, targets: Array | NDArray[np.int32]
    ) -> None:
        self.rows = len(inputs)
        self._inputs, self._targets = inputs, targets
        self._kernel = Kernel(network, loss, inputs.dtype, huber_delta=huber_delta)

    def sizes(self, theta: Array) -> list[NDArray[np.float64]]:
        """Return the RMS of delta per layer, inputs first: [(N_0,), ..., (N_L,)], at parameters (P,)."""
        signals = self._kernel.error_signals(np.ascontiguousarray(theta), self._inputs, self._targets)
        with np.errstate(over="ignore", invalid="ignore"):
            return [np.sqrt(np.square(signal.astype(np.float64)).mean(axis=0)) for signal in signals]
