"""Made-up rows for tests of pools: a source of rows as workers see it, without a table."""

from __future__ import annotations

import ctypes
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dbp import Network
from dbp.data.rows import EncodedRows
from dbp.sums.messages import TrainingWork, Workload
from dbp.sums.shards import Shards


@dataclass(frozen=True)
class RandomRows:
    """Rows that depend on their numbers alone, so that any process makes the same ones."""

    features: int
    outputs: int
    rows: int

    def _all(self):
        draw = np.random.default_rng(self.rows)
        return draw.standard_normal((self.rows, self.features)), draw.standard_normal((self.rows, self.outputs))

    def summarize(self, part, start, stop):
        raise NotImplementedError("these rows have no columns to look at")

    def encode(self, part, start, stop, encoding, dtype):
        inputs, targets = self._all()
        return EncodedRows(inputs[start:stop].astype(dtype), targets[start:stop].astype(dtype))


@dataclass(frozen=True)
class DeadlyRows(RandomRows):
    """Rows whose reader kills its own process, the first time that `poisoned` rows are read (always, with no `marker`)."""

    poisoned: int = 0
    marker: Path | None = None

    def encode(self, part, start, stop, encoding, dtype):
        if start <= self.poisoned < stop and (self.marker is None or not self.marker.exists()):
            if self.marker is not None:
                self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(part, start, stop, encoding, dtype)


def workload(
    rows: int = 200, shards: int = 8, sizes=(6, 9, 3), precision="float32", source=None, seed: int = 0
) -> Workload:
    """Return a training workload over made-up rows."""
    network = Network(sizes, [*["tanh"] * (len(sizes) - 2), "identity"])
    source = source or RandomRows(sizes[0], sizes[-1], rows)
    training = TrainingWork(network, "squared_error", precision, encoding=None)
    return Workload(source, {"train": Shards(rows, shards)}, seed, training)


@dataclass(frozen=True)
class CorruptRows(RandomRows):
    """Rows that are wrong by one bit in the memory of one process: the first that reads any; `marker` tells which."""

    marker: Path | None = None

    def encode(self, part, start, stop, encoding, dtype):
        rows = super().encode(part, start, stop, encoding, dtype)
        try:
            with open(self.marker, "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            pass
        if self.marker.read_text() == str(os.getpid()):
            rows.inputs.view(np.uint8)[0, rows.inputs.itemsize - 1] ^= 1
        return rows


@dataclass(frozen=True)
class CrashingRows(DeadlyRows):
    """Rows whose reader crashes as C code does: by reading where no memory is."""

    def encode(self, part, start, stop, encoding, dtype):
        if start <= self.poisoned < stop and not self.marker.exists():
            self.marker.touch()
            ctypes.string_at(0)
        return RandomRows.encode(self, part, start, stop, encoding, dtype)


@dataclass(frozen=True)
class FrozenRows(DeadlyRows):
    """Rows whose reader sleeps for an hour without giving the interpreter back; `marker` tells in which process."""

    def encode(self, part, start, stop, encoding, dtype):
        if start <= self.poisoned < stop and not self.marker.exists():
            self.marker.write_text(str(os.getpid()))
            ctypes.PyDLL(None).sleep(3600)
        return RandomRows.encode(self, part, start, stop, encoding, dtype)
