"""What is trained: a few tiny jobs that together use every kind of step, and their undisturbed runs, step by step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dbp import Network
from dbp.data.encoding import Encoding
from dbp.data.rows import EncodedRows
from dbp.optimizers.registry import METHODS
from dbp.sums.batches import BatchSampler
from dbp.sums.fingerprint import kernel_fingerprint
from dbp.sums.messages import Part, SumTask, TrainingWork, Workload
from dbp.sums.pool import WorkerPool, serial_pool
from dbp.sums.shards import Shards
from dbp.training.coordinator import Coordinator, Outcome, Progress, ProgressStore, Schedule
from dbp.training.memory import Remember
from dbp.training.objective import Objective
from dbp.training.observers import Observer, StepMetrics
from dbp.training.saving import Begin, Saved
from dbp.training.stopping import Finished, LossChange, MaxSteps, Patience, StoppingRule
from dbp.workers.job_checkpoints import Origin
from dbp.workers.preparation import Fitted

NETWORK = Network((2, 4, 1), ("tanh", "identity"))
VALIDATION_ROWS = 9
ENCODING = Encoding(("a", "b"), (0.0, 0.0), (1.0, 1.0), ("y",), "regression", (), (0.0,), (1.0,))


@dataclass(frozen=True)
class Rows:
    """A small noisy table; weights make the sums of rows numbers of their own."""

    count: int

    def summarize(self, part: Part, start: int, stop: int) -> Any:
        raise NotImplementedError("these rows have no columns to look at")

    def encode(self, part: Part, start: int, stop: int, encoding: Encoding, dtype: np.dtype) -> EncodedRows:
        inputs, targets, weights = _table(self.count, part)
        return EncodedRows(
            inputs[start:stop].astype(dtype), targets[start:stop].astype(dtype), weights[start:stop].astype(dtype)
        )


@cache
def _table(count: int, part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(count + (part == "validation"))
    inputs = draw.standard_normal((count, 2))
    targets = np.sin(2 * inputs[:, :1]) * inputs[:, 1:] + 0.3 * draw.standard_normal((count, 1))
    return inputs, targets, draw.uniform(0.5, 2, count)


@dataclass(frozen=True, eq=False)
class Problem:
    """One job."""

    name: str
    optimizer: Mapping[str, object]
    rows: int = 40
    shards: int = 8
    steps: int = 6
    batch: int | None = None
    validate_every: int = 0  # 0: no validation rows
    precision: str = "float64"
    l2: float = 0.0
    rules: tuple[StoppingRule, ...] = ()
    best: bool = False

    def workload(self, trains: bool) -> Workload:
        """Return what workers are told: of the rows alone, or of the training too."""
        shards: dict[Part, Shards] = {"train": Shards(self.rows, self.shards)}
        if self.validate_every:
            shards["validation"] = Shards(VALIDATION_ROWS, 2)
        work = TrainingWork(
            NETWORK,
            "squared_error",
            self.precision,
            encoding=ENCODING,
            curvature=self.optimizer["name"] == "levenberg_marquardt",
        )
        return Workload(_rows(self.rows), shards, 0, work if trains else None)

    def coordinator(
        self,
        pool: WorkerPool,
        store: ProgressStore,
        observer: Observer,
        checkpoint_every: int,
        more_rules: Sequence[StoppingRule] = (),
        clock: Any = lambda: 0.0,
        begin: Begin | None = None,
    ) -> Coordinator:
        """Return the real coordinator of this job, put together as `Run` does."""
        shards = Shards(self.rows, self.shards)
        return Coordinator(
            objective=Objective(pool, NETWORK, "mean", self.l2, classification=False),
            optimizer=self.method(),
            sampler=BatchSampler(shards, self.batch, 0) if self.batch else None,
            schedule=Schedule(self.validate_every or 1, checkpoint_every, validates=bool(self.validate_every)),
            rules=(Finished(), *self.rules, MaxSteps(self.steps), *more_rules),
            store=store,
            observer=observer,
            remember=Remember(losses=4, best=self.best),
            clock=clock,
            begin=begin,
        )

    def method(self) -> Any:
        """Return the optimiser."""
        return _method(self)

    def first_progress(self) -> Progress:
        """Return the progress before the first step."""
        theta = _start(self.precision).copy()
        return Progress(0, theta, self.method().init(theta))


@cache
def _start(precision: str) -> np.ndarray:
    return NETWORK.initial_parameters(0, precision)


@cache
def _method(problem: Problem) -> Any:
    return METHODS[str(problem.optimizer["name"])].model_validate(problem.optimizer).build()


@cache
def _rows(count: int) -> Rows:
    return Rows(count)


_DESCENT = {"name": "gradient_descent", "learning_rate": 0.3, "momentum": 0.8}
PROBLEMS = (
    Problem("gradient descent", _DESCENT, l2=0.01),
    Problem("gradient descent in batches", {**_DESCENT, "nesterov": True}, batch=14, steps=7),
    Problem("gradient descent, on-line", {**_DESCENT, "learning_rate": 0.05}, batch=1, rows=5, shards=5, steps=8),
    Problem("gradient descent, best kept", _DESCENT, validate_every=2, rules=(Patience(2),), best=True, steps=14),
    Problem("gradient descent, loss change", _DESCENT, rules=(LossChange(0.25, 3),), steps=20),
    Problem("adam in batches", {"name": "adam", "learning_rate": 0.05}, batch=16, precision="float32"),
    Problem("adam, a cosine", {"name": "adam", "schedule": {"name": "cosine", "steps": 9}}, validate_every=3),
    Problem("rprop", {"name": "rprop"}, shards=16, precision="float32"),
    Problem("rprop with validation", {"name": "rprop"}, validate_every=1, shards=3, rules=(Patience(3),), steps=4),
    Problem("l-bfgs", {"name": "lbfgs", "memory": 3}, steps=5),
    Problem("l-bfgs in float32", {"name": "lbfgs"}, steps=5, precision="float32", shards=5),
    Problem("conjugate gradients", {"name": "conjugate_gradient"}, steps=4),
    Problem("scaled conjugate gradients", {"name": "scaled_conjugate_gradient"}, shards=1),
    Problem("levenberg-marquardt", {"name": "levenberg_marquardt"}, steps=4, shards=4),
)


def state_sha256(progress: Progress) -> str:
    """Return the digest of all that the next step depends on, but for the time that training took."""
    digest = hashlib.sha256(str(progress.step).encode())
    memory = progress.memory
    arrays = {f"optimizer {name}": array for name, array in progress.state.items()}
    arrays |= {"parameters": progress.parameters}
    if memory.best is not None:
        arrays["best"] = memory.best.parameters
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    digest.update(repr((memory.losses, memory.gradient_norm, memory.finished, memory.mark, memory.waited)).encode())
    return digest.hexdigest()


@dataclass
class Undisturbed(Observer):
    """The run of a problem that nothing happened to: what every schedule has to end with."""

    states: dict[int, str] = field(default_factory=dict)  # by step
    metrics: dict[int, tuple[object, ...]] = field(default_factory=dict)
    outcome: Outcome | None = None

    def save(self, progress: Progress) -> Saved:
        self.states[progress.step] = state_sha256(progress)
        return Saved(progress.step, Path(), 0.0)

    def step(self, metrics: StepMetrics) -> None:
        self.metrics[metrics.step] = facts(metrics)


def facts(metrics: StepMetrics) -> tuple[object, ...]:
    """Return what of a step's metrics does not depend on workers and clocks (NaN put so that it equals itself)."""
    numbers = (metrics.loss, metrics.rms, metrics.gradient_norm, metrics.validation_loss, metrics.validation_rms)
    return (metrics.step, metrics.rows, *("nan" if n is not None and math.isnan(n) else n for n in numbers))


@cache
def undisturbed(number: int) -> Undisturbed:
    """Return the undisturbed run of a problem, on the pool in this process."""
    problem, run = PROBLEMS[number], Undisturbed()
    pool = serial_pool(problem.workload(trains=True))
    pool.sum(SumTask("load", "train"))
    first = problem.first_progress()
    run.save(first)
    run.outcome = problem.coordinator(pool, run, run, checkpoint_every=1).run(first)
    return run


@cache
def origin() -> Origin:
    """Return what checkpoints say of where they come from."""
    return Origin("job", "data", kernel_fingerprint(), Fitted(ENCODING))
