"""Audits: every lie about an audited shard is found, the liar is named and replaced, and the sum has the right bits."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import RandomRows, workload

from dbp.errors import JobFailedError
from dbp.sums.audit import TURN_STEPS, Audit, bits_of
from dbp.sums.auditing import AuditingTransport
from dbp.sums.batches import BatchSampler
from dbp.sums.messages import Call, CallAnswered, Event, SumTask, WorkerLost, WorkerReady
from dbp.sums.pool import TransportPool, serial_pool
from dbp.sums.shard_worker import ShardWorker

GRADIENT = SumTask("gradient", "train", step=1)


def flipped(partial, bit: int = 0):
    """The partial sum with one bit of one number of its gradient flipped."""
    gradient = partial.gradient.copy()
    gradient.view(np.uint8)[bit // 8 % gradient.nbytes] ^= np.uint8(1 << bit % 8)
    return replace(partial, gradient=gradient)


class Workers:
    """Real `ShardWorker`s in this process; those in `liars` flip a bit of each sum that they make. Answers in any order."""

    def __init__(self, liars=(), seed: int = 0, deaths: int = 0, bit: int = 5) -> None:
        self.liars, self.bit = set(liars), bit
        self.draw, self.deaths = np.random.default_rng(seed), deaths
        self.workers, self.events = {}, deque()
        self.calls, self.removed = [], []

    def now(self):
        return 0.0

    def start(self, worker, workload):
        self.workers[worker] = ShardWorker(workload)
        self.events.append(WorkerReady(worker))

    def configure(self, worker, workload):
        self.workers[worker].configure(workload)

    def publish(self, parameters):
        self.parameters = parameters

    def send(self, worker: int, call: Call):
        self.calls.append((worker, call))
        if self.deaths and self.draw.random() < 0.3:
            self.deaths -= 1
            self.events.append(WorkerLost(worker, "killed"))
            return
        partials = self.workers[worker].compute(call, self.parameters)
        copies = tuple((node, replace(partial, gradient=partial.gradient.copy())) for node, partial in partials)
        if worker in self.liars and call.task.kind == "gradient":
            copies = tuple((node, flipped(partial, self.bit)) for node, partial in copies)
        self.events.append(CallAnswered(worker, call.number, copies))

    def next_event(self, patience) -> Event | None:
        self.events.rotate(int(self.draw.integers(max(len(self.events), 1))))
        return self.events.popleft()

    def remove(self, worker: int, reason: str):
        self.removed.append(worker)
        self.events.append(WorkerLost(worker, reason))

    def close(self):
        pass


def pool_of(inner: Workers, workers: int, share: float, load, said: list[str] | None = None) -> TransportPool:
    transport = AuditingTransport(inner, Audit(share, seed=0))
    return TransportPool(transport, workers, load, (said if said is not None else []).append)


def start_of(load):
    return load.training.network.initial_parameters(0, load.training.precision)


@settings(max_examples=60)
@given(
    workers=st.integers(1, 5),
    share=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    seed=st.integers(0, 10**6),
    deaths=st.integers(0, 3),
    batch=st.sampled_from([None, 1, 40]),
)
def test_an_audit_changes_no_bit_and_accuses_nobody(workers, share, seed, deaths, batch):
    load = workload(rows=120, shards=13)
    inner = Workers(seed=seed, deaths=deaths)
    pool, theta = pool_of(inner, workers, share, load), start_of(load)
    sampler = None if batch is None else BatchSampler(load.shards["train"], batch, 0)
    for step in (1, 2, 11):
        task = SumTask("gradient", "train", step, sampler.batch(step) if sampler else None)
        assert bits_of(pool.sum(task, theta)) == bits_of(serial_pool(load).sum(task, theta))
    assert inner.removed == []


@settings(max_examples=60)
@given(
    workers=st.integers(1, 5),
    liars=st.sets(st.integers(0, 4), min_size=1, max_size=1),
    seed=st.integers(0, 10**6),
    bit=st.integers(0, 5000),
)
def test_a_liar_is_named_and_replaced_and_the_sum_is_right(workers, liars, seed, bit):
    """One of the workers is wrong, whether it computes the shard for the sum or for another's audit."""
    load = workload(rows=120, shards=13)
    said: list[str] = []
    inner = Workers(liars, seed, bit=bit)
    pool, theta = pool_of(inner, workers, 1.0, load, said), start_of(load)
    for step in (1, 2):
        task = SumTask("gradient", "train", step)
        assert bits_of(pool.sum(task, theta)) == bits_of(serial_pool(load).sum(task, theta))
    assert inner.removed == [liar for liar in liars if liar < workers]
    for liar in inner.removed:
        assert any(f"worker {liar} was lost (audit: it computed shard" in each for each in said)
        assert f"worker {workers} takes its place" in said[0]


@given(seed=st.integers(0, 10**6), deaths=st.integers(0, 3))
@settings(max_examples=40)
def test_a_liar_among_workers_that_die_is_found_all_the_same(seed, deaths):
    load = workload(rows=120, shards=13)
    inner = Workers({1}, seed, deaths=deaths)
    pool, theta = pool_of(inner, 3, 1.0, load), start_of(load)
    for step in range(1, 6):
        task = SumTask("gradient", "train", step)
        assert bits_of(pool.sum(task, theta)) == bits_of(serial_pool(load).sum(task, theta))
    assert set(inner.removed) <= {1}


def test_a_flipped_bit_that_is_not_audited_gets_through():
    """What an audit is worth: without it, the same lie is in the sum."""
    load = workload(rows=120, shards=13)
    pool, theta = pool_of(Workers({0}, bit=28), 2, 0.0, load), start_of(load)
    assert bits_of(pool.sum(GRADIENT, theta)) != bits_of(serial_pool(load).sum(GRADIENT, theta))


def test_where_every_result_is_another_the_job_fails():
    class Liars(Workers):
        def send(self, worker, call):
            self.liars, self.bit = {worker}, 8 * worker + 1
            super().send(worker, call)

    load = workload(rows=120, shards=13)
    pool = pool_of(Liars(), 2, 1.0, load)
    pool.sum(SumTask("loss", "train"), start_of(load))  # both are there
    with pytest.raises(
        JobFailedError, match=r"audit: shard \d+ of the train rows has, in step 1, other bits each time"
    ):
        pool.sum(GRADIENT, start_of(load))


def test_only_the_chosen_shards_are_computed_twice_each_by_one_other_worker():
    load = workload(rows=300, shards=32)
    audit = Audit(0.25, seed=0)
    inner = Workers()
    pool, theta = pool_of(inner, 3, 0.25, load), start_of(load)
    pool.sum(SumTask("load", "train"))
    pool.sum(SumTask("loss", "train"), theta)
    assert all(not call.apart and not call.extra for _, call in inner.calls)
    inner.calls.clear()
    pool.sum(GRADIENT, theta)
    chosen = audit.chosen(GRADIENT, 32)
    assert sorted(shard for _, call in inner.calls for shard in call.apart) == sorted(chosen)
    assert sorted(shard for _, call in inner.calls for shard in call.extra) == sorted(chosen)
    assert all(not set(call.extra) & set(call.shards) for _, call in inner.calls)


@given(st.integers(0, 2**63 - 1), st.integers(1, 200))
def test_the_choice_is_a_function_of_seed_step_and_shard_and_has_about_the_share(seed, first):
    audit = Audit(0.1, seed)
    choices = [audit.chosen(SumTask("gradient", "train", step), 64) for step in range(first, first + 400, TURN_STEPS)]
    assert choices[0] == Audit(0.1, seed).chosen(SumTask("curvature", "train", first), 64)
    assert 0.03 < sum(map(len, choices)) / (64 * len(choices)) < 0.2
    assert len(set(choices)) > 10
    assert audit.chosen(SumTask("loss", "train", first), 64) == frozenset()
    assert Audit(0.0, seed).chosen(GRADIENT, 64) == frozenset()
    assert Audit(1.0, seed).chosen(GRADIENT, 64) == frozenset(range(64))


def test_rows_of_others_are_kept_for_a_turn_and_then_forgotten():
    reads: list[tuple[int, int]] = []

    class Counted(RandomRows):
        def encode(self, part, start, stop, encoding, dtype):
            reads.append((start, stop))
            return super().encode(part, start, stop, encoding, dtype)

    load = workload(rows=80, shards=8, source=Counted(6, 3, 80))
    worker, theta = ShardWorker(load), start_of(load)

    def rows_read(number: int, extra: tuple[int, ...], shards: tuple[int, ...] = (0, 1)) -> int:
        reads.clear()
        worker.compute(Call(number, GRADIENT, shards, extra=extra), theta)
        return len(reads)

    assert rows_read(0, (5,)) == 3
    assert rows_read(1, (5,)) == 0
    assert rows_read(2, ()) == 0  # a step that audits nothing forgets nothing
    assert rows_read(3, (6,)) == 1
    assert rows_read(4, (5,)) == 1  # it was forgotten
    assert rows_read(5, (6,), (0, 1, 5)) == 1  # now 5 is its own
    assert rows_read(6, (7,), (0, 1, 5)) == 1
    assert rows_read(7, (), (0, 1, 5)) == 0


def test_an_auditor_that_is_late_is_not_waited_for():
    """Its word is this process's then; when it answers at last, it is judged by that."""

    class Late(Workers):
        time = 0.0

        def now(self):
            return self.time

        def next_event(self, patience):
            ready = [event for event in self.events if event.worker != 1 or self.time > 9]
            if ready:
                self.events.remove(ready[0])
                return ready[0]
            assert patience is not None
            self.time += patience
            return None

    load = workload(rows=120, shards=12)
    inner = Late()
    transport = AuditingTransport(inner, Audit(1.0, 0))
    for worker in (0, 1, 2):
        transport.start(worker, load)
    inner.time = 10.0
    for _ in range(3):
        transport.next_event(None)
    inner.time = 0.0
    transport.publish(start_of(load))
    for worker in (0, 1, 2):
        transport.send(worker, Call(worker, GRADIENT, tuple(range(4 * worker, 4 * worker + 4))))
    events = [transport.next_event(None), transport.next_event(None)]
    assert sorted(event.worker for event in events) == [0, 2]
    assert inner.time < 1.0
    assert transport.next_event(0.5) is None
    inner.time = 10.0
    assert transport.next_event(None).worker == 1
    assert inner.removed == []
