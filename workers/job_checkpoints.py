"""What a training checkpoint holds, and whether it belongs to a job."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dbp.data.encoding import Encoding
from dbp.errors import CheckpointError
from dbp.optimizers.lbfgs import history_names
from dbp.storage.checkpoints import Checkpoint, CheckpointStore
from dbp.training.coordinator import Progress
from dbp.training.memory import Memory
from dbp.training.observers import Observer
from dbp.training.saving import Saved
from dbp.workers.preparation import Fitted

PARAMETERS = "parameters"
STATE_PREFIX = "optimizer."
MEMORY_PREFIX = "stopping."


@dataclass(frozen=True)
class Origin:
    """What a checkpoint's numbers come from: job, data and machine; and what was learnt of the columns, so that resuming need
    not look again."""

    job: str
    data: str
    kernel: str
    fitted: Fitted

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Origin:
        """Read the origin of a checkpoint. CheckpointError if it is none of training."""
        facts = checkpoint.metadata
        try:
            names = (str(facts["job_fingerprint"]), str(facts["data_fingerprint"]), str(facts["kernel_fingerprint"]))
            weights = cast("list[float]", facts.get("class_weights", []))
            return cls(*names, Fitted(Encoding.from_json(facts["encoding"]), tuple(map(float, weights))))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"checkpoint of step {checkpoint.step}: not of a training job ({error})") from error

    def check(self, folder: Path, job: str, data: str, kernel: str, observer: Observer) -> None:
        """Raise CheckpointError where job or data are others than the checkpoint's; warn where the machine computes other bits."""
        if self.job != job:
            raise CheckpointError(
                f"{folder}: these checkpoints are from another job than job.yaml beside them "
                f"(fingerprint {self.job[:12]}, expected {job[:12]}); start a new job with `dbp run`"
            )
        if self.data != data:
            raise CheckpointError(
                f"{folder}: the data has changed since these checkpoints were written "
                f"(fingerprint {self.data[:12]}, now {data[:12]}); restore the data, or start a new job with `dbp run`"
            )
        if self.kernel != kernel:
            observer.warning(
                f"this machine computes other last bits than the one that wrote the checkpoint (kernel {self.kernel}, "
                f"here {kernel}): the result will be as good, but not the same to the last bit"
            )

    def to_metadata(self) -> dict[str, object]:
        """Return the facts that a checkpoint records."""
        return {
            "job_fingerprint": self.job,
            "data_fingerprint": self.data,
            "kernel_fingerprint": self.kernel,
            "encoding": self.fitted.encoding.to_json(),
            "class_weights": list(self.fitted.class_weights),
        }


@dataclass(frozen=True)
class JobCheckpoints:
    """Keeps a job's progress as checkpoints (a `ProgressStore`)."""

    store: CheckpointStore
    origin: Origin
    before: Callable[[], None] | None = None  # makes safe what a run that goes on from a checkpoint does not make again
    warnings: deque[str] = field(default_factory=deque)  # of the store's, that nobody was told of yet

    def save(self, progress: Progress) -> Saved:
        """Write a checkpoint; it is safe when this returns. StorageError if it cannot be written."""
        arrays = {PARAMETERS: progress.parameters}
        arrays |= {STATE_PREFIX + name: array for name, array in progress.state.items()}
        arrays |= {MEMORY_PREFIX + name: array for name, array in progress.memory.to_arrays().items()}
        began = time.perf_counter()
        path = self.store.save(Checkpoint(progress.step, arrays, self.origin.to_metadata()), self.before)
        seconds = time.perf_counter() - began
        return Saved(progress.step, path, seconds, tuple(self.warnings.popleft() for _ in range(len(self.warnings))))

    @staticmethod
    def progress_of(checkpoint: Checkpoint, first: Progress) -> Progress:
        """Return the progress in a checkpoint. CheckpointError if its arrays are not like those of `first`, the job's start."""
        start = first.parameters
        parameters = checkpoint.arrays.get(PARAMETERS)
        if parameters is None or parameters.shape != start.shape or parameters.dtype != start.dtype:
            seen = (
                "no parameters" if parameters is None else f"parameters of shape {parameters.shape}, {parameters.dtype}"
            )
            raise CheckpointError(
                f"checkpoint of step {checkpoint.step}: {seen}; expected shape {start.shape}, {start.dtype}"
            )
        state = _below(STATE_PREFIX, checkpoint.arrays)
        _check_state(checkpoint.step, state, first)
        try:
            memory = Memory.from_arrays(_below(MEMORY_PREFIX, checkpoint.arrays))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"checkpoint of step {checkpoint.step}: what it remembers cannot be used ({error})"
            ) from error
        if memory.best is not None and (
            memory.best.parameters.shape != start.shape or memory.best.parameters.dtype != start.dtype
        ):
            raise CheckpointError(
                f"checkpoint of step {checkpoint.step}: best parameters of shape {memory.best.parameters.shape}; "
                f"expected {start.shape}"
            )
        return Progress(checkpoint.step, cast("NDArray[np.floating]", parameters), state, memory)


def _check_state(step: int, state: Mapping[str, NDArray[Any]], first: Progress) -> None:
    """Raise CheckpointError unless the optimiser's state has the arrays that it starts with; others are like the parameters."""
    for name in {**first.state, **state}:
        expected, found = first.state.get(name, first.parameters), state.get(name)
        if found is None or (found.shape, found.dtype) != (expected.shape, expected.dtype):
            seen = "is missing" if found is None else f"has shape {found.shape}, {found.dtype}"
            raise CheckpointError(
                f"checkpoint of step {step}: {name[:80]!r} of the optimizer's state {seen}; "
                f"expected shape {expected.shape}, {expected.dtype}"
            )
    numbered = {name for name in state if name not in first.state and "." in name}
    if numbered != (whole := history_names(state)):
        odd = min(numbered ^ whole)
        raise CheckpointError(
            f"checkpoint of step {step}: the history in the optimizer's state has gaps: {odd[:80]!r} "
            f"{'is missing' if odd in whole else 'belongs to nothing'}"
        )


def _below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
