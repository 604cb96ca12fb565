"""The record of error signals of a run, opened where its job asks for one (`training.signals_every`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dbp.data.dataset import Dataset
from dbp.errors import StorageError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.sums.signals import Probe, spread_rows
from dbp.training.signals import PROBE_ROWS, SignalsRecorder
from dbp.workers.preparation import Prepared


class Signals(Protocol):
    """What looks at the error signal after each step."""

    def after(self, step: int, parameters: NDArray[np.floating]) -> None:
        """Look at the parameters (P,) after a step."""
        ...

    def make_safe(self) -> None:
        """Make what was recorded survive a loss of power."""
        ...


class _NoSignals:
    """Records nothing."""

    def after(self, step: int, parameters: NDArray[np.floating]) -> None:
        pass

    def make_safe(self) -> None:
        pass


@contextmanager
def signals_of(
    job: Job, dataset: Dataset, prepared: Prepared, directory: JobDirectory, on_trouble: Callable[[StorageError], None]
) -> Iterator[Signals]:
    """Record error signals inside the block, over rows that depend on the table alone. DataError where they cannot be read."""
    every = job.training.signals_every
    if every is None:
        yield _NoSignals()
        return
    dtype: np.dtype[np.floating] = np.dtype(job.training.precision)
    ranges = spread_rows(dataset.training_rows, PROBE_ROWS)
    parts = [dataset.encode("train", start, stop, prepared.encoding, dtype) for start, stop in ranges]
    inputs, targets = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    probe = Probe(prepared.network, job.loss, job.huber_delta, inputs, targets)
    signals = SignalsRecorder(directory, probe, every, on_trouble)
    try:
        yield signals
        with suppress(StorageError):  # a checkpoint that counts had its lines safe before; a full disk was told of
            signals.make_safe()
    finally:
        signals.close()
