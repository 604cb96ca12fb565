"""Writes down how large the error signal is while a job trains: signals.jsonl, where `training.signals_every` asks for it.

A line per step: the RMS of delta at each neuron, over a fixed choice of training rows and at the parameters after the step. It is
computed where the coordinator is, and changes no bit of the result; workers have no part in it, so their number changes none of
the lines. As in metrics.jsonl, a step made again after a resume is there twice, with the same numbers, and the later line counts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dbp.errors import StorageError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.metrics import MetricsWriter, read_metrics
from dbp.sums.signals import Probe

PROBE_ROWS = 512
_DIGITS = 7


class SignalsRecorder:
    """Keeps signals.jsonl of a job directory. `on_trouble` hears of lines that wait in memory for a disk that takes them."""

    def __init__(
        self, directory: JobDirectory, probe: Probe, every: int, on_trouble: Callable[[StorageError], None]
    ) -> None:
        self._directory, self._probe, self._every = directory, probe, every
        self._file = MetricsWriter(directory.signals_file, on_trouble)

    def after(self, step: int, parameters: NDArray[np.floating]) -> None:
        """Measure at the parameters (P,) after a step, if it is one of those to be measured."""
        if step % self._every == 0:
            layers = [[_rounded(value) for value in layer.tolist()] for layer in self._probe.sizes(parameters)]
            self._file.write({"step": step, "rows": self._probe.rows, "layers": layers})
            self._directory.soon(self._directory.signals_file)

    def make_safe(self) -> None:
        """Make the lines so far survive a loss of power. StorageError if it cannot be done."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_signals(path: Path, sizes: tuple[int, ...]) -> dict[int, list[NDArray[np.float64]]]:
    """Return the recorded sizes per step, for layers of `sizes`; a number that was not finite is infinite. {} without a file.

    Lines that are none, or of another network, are left out. StorageError when the file cannot be read.
    """
    found = {}
    for entry in read_metrics(path).steps:
        layers: Any = entry.get("layers")  # JSON
        if _fits(layers, sizes):
            found[entry["step"]] = [
                np.array([np.inf if value is None else value for value in layer], dtype=np.float64) for layer in layers
            ]
    return found


def _fits(layers: object, sizes: tuple[int, ...]) -> bool:
    if not isinstance(layers, list) or not all(isinstance(layer, list) for layer in layers):
        return False
    return tuple(map(len, layers)) == sizes and all(_is_size(value) for layer in layers for value in layer)


def _is_size(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
