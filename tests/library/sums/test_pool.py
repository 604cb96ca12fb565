"""The pool in this process, and what pools do with deaths, duplicates and errors."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from sources import RandomRows, workload

from dbp import gradient_sum
from dbp.errors import DataError, WorkersLostError
from dbp.sums.batches import BatchSampler, choose_rows
from dbp.sums.messages import Call, CallAnswered, SumTask, WorkerLost, WorkerReady
from dbp.sums.pool import TransportPool, serial_pool
from dbp.sums.shard_worker import ShardWorker

GRADIENT = SumTask("gradient", "train", step=1)


def start_of(load):
    return load.training.network.initial_parameters(0, load.training.precision)


class ScriptedTransport:
    """Several real `ShardWorker`s in this process. Answers come in a random order, some twice, and some workers die."""

    def __init__(self, seed: int, deaths: int, rate: float = 0.4) -> None:
        self.draw, self.deaths = np.random.default_rng(seed), deaths
        self.workers, self.events, self.old = {}, deque(), []
        self.lost, self.rate = 0, rate

    def start(self, worker, workload):
        self.workers[worker] = ShardWorker(workload)
        self.events.append(WorkerReady(worker))

    def configure(self, worker, workload):
        self.workers[worker].configure(workload)

    def publish(self, parameters):
        self.parameters = None if parameters is None else parameters.copy()

    def send(self, worker: int, call: Call):
        if self.deaths and self.draw.random() < self.rate:
            self.deaths, self.lost = self.deaths - 1, self.lost + 1
            self.events.append(WorkerLost(worker, "killed"))
            return
        partials = ShardWorker.compute(self.workers[worker], call, self.parameters)
        frozen = tuple((node, _copy(partial)) for node, partial in partials)
        answer = CallAnswered(worker, call.number, frozen)
        self.events.append(answer)
        if self.draw.random() < 0.3:
            self.events.append(answer)
        self.old.append(answer)

    def now(self):
        return 0.0

    def next_event(self, patience):
        if self.old and self.draw.random() < 0.2:
            return self.old[int(self.draw.integers(len(self.old)))]
        self.events.rotate(int(self.draw.integers(max(len(self.events), 1))))
        return self.events.popleft()

    def close(self):
        pass


def _copy(partial):
    gradient = partial.gradient.copy()
    gradient.flags.writeable = False
    return type(partial)(partial.loss, gradient, partial.weight, partial.squared_error, partial.rows, partial.correct)


def test_the_sum_over_shards_is_the_sum_over_all_rows():
    load = workload(rows=500, shards=8, precision="float64")
    inputs, targets, _ = load.source.encode("train", 0, 500, None, np.float64)
    theta = start_of(load)
    total = serial_pool(load).sum(GRADIENT, theta)
    outputs = load.training.network.forward(theta, inputs)
    assert total.loss == pytest.approx(0.5 * ((outputs - targets) ** 2).sum(), rel=1e-12)
    assert total.weight == total.rows == 500


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("workers", [1, 3, 8])
def test_deaths_duplicates_and_any_order_change_no_bit(seed, workers):
    load = workload(rows=300, shards=8)
    theta, serial = start_of(load), serial_pool(load)
    transport = ScriptedTransport(seed, deaths=3)
    pool = TransportPool(transport, workers, load)
    for step in range(1, 5):
        batch = BatchSampler(load.shards["train"], 50, seed=0).batch(step) if step % 2 else None
        task = SumTask("gradient", "train", step, batch)
        expected = _copy(serial.sum(task, theta))
        found = pool.sum(task, theta)
        assert found.gradient.tobytes() == expected.gradient.tobytes()
        assert (found.loss, found.rows) == (expected.loss, expected.rows)
        theta = theta - np.float32(0.01) * expected.gradient
    assert pool.workers + len(transport.events) >= 1


def test_faults_really_fire():
    """Guards the test above: with these seeds workers do die."""
    lost = 0
    for seed in range(12):
        load = workload(rows=300, shards=8)
        transport = ScriptedTransport(seed, deaths=3)
        pool = TransportPool(transport, 3, load)
        for step in range(1, 5):
            pool.sum(SumTask("gradient", "train", step), start_of(load))
        lost += transport.lost
    assert lost > 10


def test_when_every_worker_keeps_dying_the_pool_says_so():
    transport = ScriptedTransport(0, deaths=10**6, rate=1.0)
    pool = TransportPool(transport, 2, workload())
    with pytest.raises(WorkersLostError, match="workers died in a row"):
        pool.sum(GRADIENT, start_of(workload()))


class LendingTransport(ScriptedTransport):
    """Answers lie in memory that the worker writes over with its next answer, as over a link. Worker 1 dies when it is called."""

    def __init__(self) -> None:
        super().__init__(seed=0, deaths=0)
        self.lent = {}

    def send(self, worker, call):
        for memory in self.lent.pop(worker, []):
            memory.fill(np.nan)
        if worker == 1:
            self.events.append(WorkerLost(1, "killed", replaceable=False))
            return
        answer = CallAnswered(worker, call.number, _lent(self.workers[worker].compute(call, self.parameters)))
        self.lent[worker] = [vector.base for vector in answer.vectors]
        self.events.append(answer)

    def next_event(self, patience):
        return self.events.popleft()


def _lent(partials):
    def lend(partial):
        view = partial.gradient.copy().view()
        view.flags.writeable = False
        return replace(partial, gradient=view)

    return tuple((node, lend(partial)) for node, partial in partials)


def test_a_worker_that_is_called_twice_for_one_sum_does_not_write_over_its_first_answer():
    """Found by the simulation: the first answer of a worker that inherits a lost one's shards was read after it was gone."""
    load = workload(rows=300, shards=8)
    pool = TransportPool(LendingTransport(), 3, load)
    found = pool.sum(GRADIENT, start_of(load))
    assert found.gradient.tobytes() == serial_pool(load).sum(GRADIENT, start_of(load)).gradient.tobytes()
    assert pool.workers == 2


def test_an_error_of_a_worker_is_raised_here():
    class Broken(RandomRows):
        def encode(self, part, start, stop, encoding, dtype):
            raise DataError("table.csv: gone")

    load = workload(source=Broken(6, 3, 200))
    with pytest.raises(DataError, match=r"table\.csv: gone"):
        serial_pool(load).sum(GRADIENT, start_of(load))


def test_the_pool_tells_of_a_death_in_a_sentence():
    told = []
    pool = TransportPool(ScriptedTransport(1, deaths=1), 2, workload(), told.append)
    for step in range(4):
        pool.sum(SumTask("gradient", "train", step), start_of(workload()))
    assert told == ["worker 1 was lost (killed); worker 2 takes its place and computes its shards again"] or told == [
        "worker 0 was lost (killed); worker 2 takes its place and computes its shards again"
    ]


class CountedRows(RandomRows):
    """Rows that count how often a shard of them is read."""

    reads: ClassVar[list[int]] = []

    def encode(self, part, start, stop, encoding, dtype):
        self.reads.append(start)
        return super().encode(part, start, stop, encoding, dtype)


@pytest.mark.parametrize(
    ("changes", "reads"),
    [
        ({}, 8),
        ({"sizes": (6, 30, 30, 3)}, 8),  # another network of the same cut
        ({"shards": 4}, 12),
        ({"precision": "float64"}, 16),
        ({"seed": 1}, 16),  # its batches are drawn from other permutations
    ],
)
def test_rows_are_read_once_as_long_as_they_are_the_same(changes, reads):
    source = CountedRows(6, 3, 200)
    pool = TransportPool(ScriptedTransport(0, deaths=0), 3, workload(source=source))
    CountedRows.reads.clear()
    for load in (workload(source=source), workload(source=CountedRows(6, 3, 200), **changes)):
        pool.configure(load)
        for kind in ("load", "gradient"):
            pool.sum(SumTask(kind, "train", 1), start_of(load))
    assert len(CountedRows.reads) == reads


def test_a_pool_that_did_other_work_before_gives_the_same_bits():
    """Other networks, cuts, precisions and batches, one after the other on one pool, against a fresh pool for each."""
    loads = [workload(**changes) for changes in ({}, {"sizes": (6, 5, 3)}, {"shards": 4}, {"precision": "float64"}, {})]
    pool = TransportPool(ScriptedTransport(3, deaths=2), 3, loads[0])
    for load in loads:
        pool.configure(load)
        task = SumTask("gradient", "train", 1, BatchSampler(load.shards["train"], 50, seed=0).batch(1))
        expected = _copy(serial_pool(load).sum(task, start_of(load)))
        assert pool.sum(task, start_of(load)).gradient.tobytes() == expected.gradient.tobytes()


def test_loading_counts_the_rows():
    assert serial_pool(workload(rows=123)).sum(SumTask("load", "train")).rows == 123


def test_a_loss_only_sum_agrees_with_the_gradient_sum():
    load = workload()
    theta, pool = start_of(load), serial_pool(workload())
    with_gradient = pool.sum(GRADIENT, theta).loss
    assert pool.sum(SumTask("loss", "train"), theta).loss == with_gradient


def test_a_gradient_before_the_worker_knows_the_network_is_a_bug():
    load = workload()
    bare = type(load)(load.source, load.shards, load.seed)
    with pytest.raises(RuntimeError, match="before the worker was told"):
        ShardWorker(bare).compute(Call(0, GRADIENT, (0,)), start_of(load))


def test_rows_that_the_caller_chose_are_summed_and_no_others():
    load = workload(rows=200, shards=8, precision="float64")
    rows = np.random.default_rng(2).permutation(200)[:37]
    inputs, targets, _ = RandomRows(6, 3, 200).encode("train", 0, 200, None, np.dtype("float64"))
    task = SumTask("gradient", "train", 1, choose_rows(load.shards["train"], rows))
    total = serial_pool(load).sum(task, start_of(load))
    expected = gradient_sum(load.training.network, start_of(load), inputs[rows], targets[rows], "squared_error")
    assert (total.rows, total.weight) == (37, 37.0)
    assert total.loss == pytest.approx(expected.loss, rel=1e-12)
    np.testing.assert_allclose(total.gradient, expected.gradient, rtol=1e-10, atol=1e-12)
