"""Workers that are threads: the bits of one worker, whatever they are asked, and errors that arrive."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from sources import RandomRows, workload

from dbp.errors import DataError
from dbp.sums.batches import BatchSampler
from dbp.sums.messages import SumTask
from dbp.sums.pool import serial_pool
from dbp.sums.threads import thread_pool

GRADIENT = SumTask("gradient", "train", step=1)


def bits(partial: Any) -> tuple[Any, ...]:
    return (
        partial.loss,
        partial.squared_error,
        partial.weight,
        partial.rows,
        partial.correct,
        partial.gradient.tobytes(),
    )


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_kind_of_sum_has_the_bits_of_one_worker(threads: int, precision: str) -> None:
    load = workload(rows=333, shards=8, precision=precision)
    load = replace(load, training=replace(load.training, curvature=True))
    alone, pool = serial_pool(load), thread_pool(load, threads)
    theta = load.training.network.initial_parameters(0, precision)
    batch = BatchSampler(load.shards["train"], 50, seed=0).batch(3)
    tasks = [
        *(SumTask("load", "train"), GRADIENT, SumTask("gradient", "train", 3, batch), GRADIENT),
        *(SumTask("loss", "train"), SumTask("curvature", "train", 4)),
    ]
    for turn, task in enumerate(tasks * 3):
        point = None if task.kind == "load" else theta * theta.dtype.type(1 + turn)
        assert bits(pool.sum(task, point)) == bits(alone.sum(task, point))
    assert pool.workers == threads
    pool.close()


@pytest.mark.parametrize("threads", [2, 3])
def test_a_sum_is_valid_until_the_next_one(threads: int) -> None:
    """Its arrays are lent: the next sum may write over them, and nothing else does."""
    load = workload(rows=200, shards=8)
    pool, theta = thread_pool(load, threads), load.training.network.initial_parameters(0, "float32")
    first = pool.sum(GRADIENT, theta)
    before = first.gradient.copy()
    for _ in range(3):
        assert pool.sum(GRADIENT, theta).gradient.tobytes() == before.tobytes()


def test_another_workload() -> None:
    """The next member of a sweep, over the same rows: they are not read again, and what was prepared for the last one is gone."""
    load = workload(rows=200, shards=8)
    other = workload(rows=200, shards=8, sizes=(6, 4, 3))
    pool = thread_pool(load, 2)
    pool.sum(GRADIENT, load.training.network.initial_parameters(0, "float32"))
    pool.configure(other)
    theta = other.training.network.initial_parameters(0, "float32")
    assert bits(pool.sum(GRADIENT, theta)) == bits(serial_pool(other).sum(GRADIENT, theta))


@dataclass(frozen=True)
class BadRows(RandomRows):
    """One row that cannot be encoded."""

    bad: int = 0

    def encode(self, part: Any, start: int, stop: int, encoding: Any, dtype: Any) -> Any:
        if start <= self.bad < stop:
            raise DataError(f"row {self.bad} is bad")
        return super().encode(part, start, stop, encoding, dtype)


@pytest.mark.parametrize("bad", [0, 199])
@pytest.mark.parametrize("task", [SumTask("load", "train"), GRADIENT])
def test_what_goes_wrong_in_a_thread_arrives(bad: int, task: SumTask) -> None:
    load = workload(rows=200, shards=8, source=BadRows(6, 3, 200, bad=bad))
    pool = thread_pool(load, 2)
    with pytest.raises(DataError, match=f"row {bad} is bad"):
        pool.sum(task, load.training.network.initial_parameters(0, "float32"))
    pool.close()


@dataclass(frozen=True)
class SlowRows(RandomRows):
    """Rows whose reader waits until another thread reads, too."""

    def encode(self, part: Any, start: int, stop: int, encoding: Any, dtype: Any) -> Any:
        if start in (0, 100):
            BOTH.wait(20)
        return super().encode(part, start, stop, encoding, dtype)


BOTH = threading.Barrier(2)


def test_rows_are_read_at_the_same_time() -> None:
    load = workload(rows=200, shards=8, source=SlowRows(6, 3, 200))
    assert thread_pool(load, 2).sum(SumTask("load", "train")).rows == 200


@dataclass(frozen=True, eq=False)
class OwnRows(RandomRows):
    """Rows of a source with state, as an open file has."""

    readers: Any = None

    def __deepcopy__(self, memo: Any) -> OwnRows:
        return replace(self, readers=set())

    def encode(self, part: Any, start: int, stop: int, encoding: Any, dtype: Any) -> Any:
        self.readers.add(threading.get_ident())
        assert len(self.readers) == 1
        return super().encode(part, start, stop, encoding, dtype)


def test_every_thread_reads_with_files_of_its_own() -> None:
    load = workload(rows=200, shards=8, source=OwnRows(6, 3, 200))
    assert thread_pool(load, 4).sum(SumTask("load", "train")).rows == 200


def test_close_ends_the_threads() -> None:
    """The kernel's, which are none of Python's, and Python's."""
    before = set(os.listdir("/proc/self/task"))
    load = workload(rows=200, shards=8)
    pool = thread_pool(load, 6)
    pool.sum(SumTask("load", "train"))
    pool.sum(GRADIENT, np.zeros(load.training.network.parameter_count, np.float32))
    new = set(os.listdir("/proc/self/task")) - before
    assert len(new) > 5
    pool.close()
    until = time.monotonic() + 10
    while new & set(os.listdir("/proc/self/task")):
        assert time.monotonic() < until
        time.sleep(0.01)


@dataclass(frozen=True)
class EndlessRows(RandomRows):
    """Rows of which every shard takes a while, and one whose reading the user breaks off."""

    def encode(self, part: Any, start: int, stop: int, encoding: Any, dtype: Any) -> Any:
        if start == 0:
            raise KeyboardInterrupt
        READ.append(start)
        time.sleep(0.2)
        return super().encode(part, start, stop, encoding, dtype)


READ: list[int] = []


def test_whoever_breaks_off_waits_for_one_shard_at_most() -> None:
    """Ctrl-C while rows are read: the other threads do not read to the end of their shards."""
    load = workload(rows=400, shards=32, source=EndlessRows(6, 3, 400))
    pool = thread_pool(load, 2)
    with pytest.raises(KeyboardInterrupt):
        pool.sum(SumTask("load", "train"))
    pool.close()
    assert 1 <= len(READ) < 8  # of 16


def test_an_answer_that_nobody_was_asked_for() -> None:
    """Rather a word of it than to wait for ever."""
    load = workload(rows=200, shards=8, source=BadRows(6, 3, 200, bad=0))
    pool = thread_pool(load, 2)
    pool.close()
    transport: Any = pool._transport
    transport._events.clear()
    with pytest.raises(RuntimeError, match="nobody was asked"):
        transport.next_event(None)


class Copied(RandomRows):
    """Rows that count how often they are copied."""

    def __deepcopy__(self, memo: Any) -> Copied:
        COPIES.append(1)
        return self


COPIES: list[int] = []


def test_a_source_is_opened_once_by_each_thread() -> None:
    """Also where it is told of another encoding of the same rows."""
    load = workload(rows=200, shards=8, source=Copied(6, 3, 200))
    pool = thread_pool(load, 3)
    pool.sum(SumTask("load", "train"))
    pool.configure(replace(load, training=replace(load.training, huber_delta=2.0)))
    pool.sum(SumTask("load", "train"))
    assert len(COPIES) == 3
