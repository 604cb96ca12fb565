"""Real Ray actors: the same bits as in this process, also when their processes are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading

import pytest
from sources import DeadlyRows, workload

from dbp.errors import WorkersLostError
from dbp.sums.batches import BatchSampler
from dbp.sums.messages import CallAnswered, SumTask
from dbp.sums.pool import TransportPool, serial_pool
from dbp.workers.packing import APART_BYTES
from dbp.workers.ray_pool import RayTransport, ray_pool

pytestmark = pytest.mark.usefixtures("local_ray")


def steps(pool, load, count: int, batch_rows: int | None = None) -> list[bytes]:
    """A few steps of gradient descent; the bytes of the parameters after each."""
    theta, found = load.training.network.initial_parameters(0, load.training.precision), []
    sampler = BatchSampler(load.shards["train"], batch_rows, 0) if batch_rows else None
    for step in range(1, count + 1):
        task = SumTask("gradient", "train", step, sampler.batch(step) if sampler else None)
        total = pool.sum(task, theta)
        theta = theta - theta.dtype.type(0.05 / total.weight) * total.gradient
        found.append(theta.tobytes())
    return found


@pytest.mark.parametrize("calls", ["link", "ray"])
@pytest.mark.parametrize("workers", [1, 2, 3, pytest.param(5, marks=pytest.mark.long)])
def test_any_number_of_actors_computes_the_bits_of_this_process(workers, calls):
    load = workload(rows=400, shards=8)
    for batch_rows in (None, 37):
        pool = ray_pool(load, workers, calls)
        try:
            assert steps(pool, load, 6, batch_rows) == steps(serial_pool(load), load, 6, batch_rows)
        finally:
            pool.close()


def test_actors_compute_float64_too():
    load = workload(precision="float64")
    pool = ray_pool(load, 2)
    try:
        assert steps(pool, load, 3) == steps(serial_pool(load), load, 3)
    finally:
        pool.close()


@pytest.mark.parametrize("calls", ["link", "ray"])
def test_a_worker_killed_in_the_middle_of_a_step_changes_nothing(tmp_path, calls):
    """SIGKILL while it computes its share of the step: the step ends, with the same bits."""
    told = []
    deadly = DeadlyRows(6, 3, 400, poisoned=250, marker=tmp_path / "died")
    load = workload(rows=400, shards=8, source=deadly)
    pool = ray_pool(load, 2, calls, told.append)
    try:
        found = steps(pool, load, 4)
    finally:
        pool.close()
    assert (tmp_path / "died").exists()
    assert len(told) == 1
    assert "was lost (its process died" in told[0]
    assert "worker 2 takes its place" in told[0]
    assert found == steps(serial_pool(workload(rows=400, shards=8)), workload(rows=400, shards=8), 4)


def test_a_worker_that_inherits_shards_in_mid_step_keeps_what_it_answered_before(tmp_path):
    """Called twice for one sum, it writes over the shared memory of its first answer, which still waits for its sibling."""
    sizes, rows = (64, 128, 10), 400
    deadly = DeadlyRows(64, 10, rows, poisoned=250, marker=tmp_path / "died")
    pool = ray_pool(workload(rows, 8, sizes, source=deadly), 2)
    pool._assignment._patience = 0
    try:
        found = steps(pool, workload(rows, 8, sizes), 2)
        assert pool.workers == 1
    finally:
        pool.close()
    assert found == steps(serial_pool(workload(rows, 8, sizes)), workload(rows, 8, sizes), 2)


def test_workers_killed_at_any_time_change_nothing():
    """Real SIGKILLs from outside, between and during steps, also of all workers at once."""
    load = workload(rows=20_000, shards=32, sizes=(64, 128, 10))
    transport = RayTransport("link")
    told = []
    pool = TransportPool(transport, 2, load, told.append)
    try:
        theta = load.training.network.initial_parameters(0)
        expected = serial_pool(load).sum(SumTask("gradient", "train"), theta).gradient.tobytes()
        for step in range(8):
            pids = list(transport.pids().values())
            killer = threading.Timer(0.004 * step, lambda pids=pids[: 1 + step % 2]: [_kill(pid) for pid in pids])
            if step:
                killer.start()
            assert pool.sum(SumTask("gradient", "train", step), theta).gradient.tobytes() == expected
            if step:
                killer.join()
    finally:
        pool.close()
    assert len(told) >= 5


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_rows_that_kill_every_worker_end_the_job_and_are_named():
    load = workload(rows=400, shards=8, source=DeadlyRows(6, 3, 400, poisoned=250))
    transport = RayTransport("ray")
    pool = TransportPool(transport, 1, load)
    pool._assignment._patience = 1
    try:
        with pytest.raises(WorkersLostError, match=r"workers died in a row.*owed shards 0 to 7 of the train rows"):
            pool.sum(SumTask("load", "train"))
    finally:
        pool.close()


def test_large_gradients_are_not_copied_on_their_way():
    """What arrives from a worker is a view into shared memory: read-only, and owning no data."""
    load, seen = workload(sizes=(6, APART_BYTES // 16, 3)), []

    class Watching(RayTransport):
        def next_event(self, patience):
            event = super().next_event(patience)
            if isinstance(event, CallAnswered):
                seen.append(
                    (event.partials[0][1].gradient.flags.writeable, event.partials[0][1].gradient.flags.owndata)
                )
            return event

    pool = TransportPool(Watching(), 2, load)
    try:
        pool.sum(SumTask("gradient", "train"), load.training.network.initial_parameters(0))
        assert seen == [(False, False), (False, False)]
    finally:
        pool.close()


def test_a_caller_may_keep_a_sum_for_as_long_as_it_likes():
    """Held memory of a channel would block its worker for ever."""
    load = workload()
    pool = ray_pool(load, 1)
    try:
        theta = load.training.network.initial_parameters(0)
        kept = [pool.sum(SumTask("gradient", "train"), theta) for _ in range(5)]
        assert len({total.gradient.tobytes() for total in kept}) == 1
    finally:
        pool.close()


def test_a_stranger_at_the_gate_does_no_harm():
    """He connects and is silent, talks nonsense, or leaves: workers come in all the same, and the bits are theirs."""
    load = workload()
    transport = RayTransport()
    address = transport._gate.address
    strangers = []
    for message in (b"", b"x" * 80, b"y" * 5000):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.connect(address.local)
        stranger.sendall(message)
        strangers.append(stranger)
    pool = TransportPool(transport, 2, load)
    try:
        assert steps(pool, load, 1) == steps(serial_pool(load), load, 1)
        for stranger in strangers:
            stranger.settimeout(10)
            received = b"".join(iter(lambda end=stranger: _received(end), b""))
            assert len(received) <= 32  # a challenge, and nothing that only workers may see
    finally:
        pool.close()
        for stranger in strangers:
            stranger.close()


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(4096)
    except ConnectionError:
        return b""
