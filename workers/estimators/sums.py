"""scikit-learn's objective on rows in memory, summed by a pool of dbp.

With E the loss summed over the rows (each times its weight), M the sum of their weights, w the weights of the network without its
biases, a batch's objective is

    (E + alpha/2 |w|^2) / M

so the penalty of a row is the same in a batch of any size.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dbp.data.encoding import Encoding, Task
from dbp.network.losses import LossName
from dbp.network.network import Network, Precision
from dbp.optimizers.protocol import Evaluation, Optimizer, State, StepResult, Vector, WithCurvature
from dbp.sums.batches import choose_rows
from dbp.sums.messages import TrainingWork, Workload
from dbp.sums.pool import TransportPool, serial_pool
from dbp.sums.shards import Shards, cut_into_shards
from dbp.sums.threads import thread_pool
from dbp.training.objective import Objective
from dbp.workers.estimators.rows import RowsHere, RowsInRay, Table

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Question:
    """What is summed, and by how many workers."""

    network: Network
    loss: LossName
    alpha: float
    batch_rows: int | None = None  # None: all rows in each step
    workers: int = 0  # 0: this process
    threads: int = 1  # of this process
    curvature: bool = False  # whether the method asks for it


class Sums:
    """The objective on a table. Counts how often it was asked."""

    def __init__(self, table: Table, shards: Shards, objective: Objective, alpha: float) -> None:
        self._table, self._shards, self._objective, self._alpha = table, shards, objective, alpha
        self.asked = 0
        self.network = objective.network

    @property
    def rows(self) -> int:
        """The number of rows of the table."""
        return self._table.rows

    def weight(self, rows: Rows | None) -> float:
        """Return how much these rows weigh; None: all."""
        return self._table.weight(rows)

    def evaluate(self, asked: Vector | WithCurvature, rows: Rows | None = None) -> Evaluation:
        """Return the objective at a point (P,) over these rows (n,) of the table; None: all."""
        self.asked += 1
        batch = None if rows is None else choose_rows(self._shards, rows)
        objective = replace(self._objective, l2_penalty=self._alpha / self.weight(rows))
        return objective.evaluate(asked, self.asked, batch).evaluation

    def step(self, optimizer: Optimizer, parameters: Vector, state: State, rows: Rows | None = None) -> StepResult:
        """Return one step of a method from a point (P,): every point that it asks for is evaluated on the same rows."""
        trials = optimizer.step(parameters, state)
        asked = next(trials)
        while True:
            try:
                asked = trials.send(self.evaluate(asked, rows))
            except StopIteration as done:
                result: StepResult = done.value
                return result


@contextmanager
def open_sums(table: Table, question: Question) -> Iterator[Sums]:
    """Open the pool for a table, and close it at the end."""
    network = question.network
    # The rows of one step decide how many shards are worth their cost; never the workers, whose number must not change the bits.
    counted = cut_into_shards(min(question.batch_rows or table.rows, table.rows), network.sizes).count
    shards = Shards(table.rows, counted)
    precision: Precision = "float32" if table.inputs.dtype == np.float32 else "float64"
    task: Task = "classification" if question.loss == "cross_entropy" else "regression"
    nothing = Encoding((), (), (), (), task)  # the rows are encoded already
    training = TrainingWork(network, question.loss, precision, nothing, curvature=question.curvature)
    with _pool(table, shards, training, question) as pool:
        objective = Objective(pool, network, "mean", 0.0, task == "classification")
        yield Sums(table, shards, objective, question.alpha)


@contextmanager
def _pool(table: Table, shards: Shards, training: TrainingWork, question: Question) -> Iterator[TransportPool]:
    workers = question.workers
    if workers == 0:
        here = Workload(RowsHere(table), {"train": shards}, 0, training)
        pool = serial_pool(here) if question.threads == 1 else thread_pool(here, question.threads)
        try:
            yield pool
        finally:
            pool.close()
        return
    import ray  # takes a second, so only where it is needed

    from dbp.workers.local_ray import embedded_ray
    from dbp.workers.ray_pool import ray_pool

    vector = training.longest_answer * table.inputs.itemsize
    with embedded_ray(workers, vector + -(-table.nbytes // (4 * workers))):  # room for the rows beside the vectors
        reference = ray.put(table)
        workload = Workload(RowsInRay(reference), {"train": shards}, 0, training)
        pool = ray_pool(workload, workers, on_trouble=lambda sentence: warnings.warn(sentence, stacklevel=2))
        try:
            yield pool
        finally:
            pool.close()
