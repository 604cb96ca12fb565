"""Workers that are stopped, slow, or called again while their last answer is still needed: real processes, real signals."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from sources import workload

from dbp.sums.messages import CallAnswered, SumTask, WorkerLost
from dbp.sums.pool import TransportPool, serial_pool
from dbp.workers.packing import APART_BYTES
from dbp.workers.ray_pool import RayTransport

pytestmark = pytest.mark.usefixtures("local_ray")

GRADIENT = SumTask("gradient", "train")


@pytest.fixture
def load():
    return workload(rows=400, shards=8)


@pytest.fixture
def start(load):
    return load.training.network.initial_parameters(0)


@pytest.fixture
def expected(load, start):
    return serial_pool(load).sum(GRADIENT, start).gradient.tobytes()


def practise(pool, start) -> None:
    """Two sums: rows are loaded, and what a call takes is known."""
    pool.sum(SumTask("load", "train"), None)
    pool.sum(GRADIENT, start)


def test_a_stopped_worker_delays_a_step_by_no_more_than_the_bound_and_is_replaced(load, start, expected):
    """SIGSTOP on one of two, as a debugger or a hypervisor does it. Its heart stops, so it is not only slow."""
    told = []
    transport = RayTransport(frozen_s=4.0)
    pool = TransportPool(transport, 2, load, told.append)
    try:
        practise(pool, start)
        stopped = transport.pids()[1]
        os.kill(stopped, signal.SIGSTOP)
        while not any("was lost" in line for line in told):
            assert pool.sum(GRADIENT, start).gradient.tobytes() == expected
        assert not any("was lost" in line for line in told[:1])
        assert "worker 1 is late" in told[0]
        assert "worker 0 computes its shards, too" in told[0]
        assert "worker 1 was lost (no sign of life for" in told[1]
        while len(transport.pids()) < 2 or pool.workers < 2:  # the sums go on while the new one starts
            assert pool.sum(GRADIENT, start).gradient.tobytes() == expected
            time.sleep(0.02)
        assert sorted(transport.pids()) == [0, 2]
        with pytest.raises(ProcessLookupError):
            os.kill(stopped, 0)
    finally:
        pool.close()


def test_a_slow_worker_is_late_but_alive_and_its_answers_do_no_harm(load, start, expected):
    """Stopped for most of the time: it answers in the end, to a question of long ago, and is asked again."""
    told = []
    transport = RayTransport(frozen_s=60.0)
    pool = TransportPool(transport, 2, load, told.append)
    ended = threading.Event()

    def slow_down(pid: int) -> None:
        while not ended.wait(0.01):
            os.kill(pid, signal.SIGSTOP)
            ended.wait(1.0)
            os.kill(pid, signal.SIGCONT)

    try:
        practise(pool, start)
        brake = threading.Thread(target=slow_down, args=(transport.pids()[1],))
        brake.start()
        try:
            for step in range(300):
                assert pool.sum(SumTask("gradient", "train", step), start).gradient.tobytes() == expected
                time.sleep(0.01)
        finally:
            ended.set()
            brake.join()
        assert any("worker 1 is late" in line for line in told)
        assert not any("was lost" in line for line in told)
        assert sorted(transport.pids()) == [0, 1]
    finally:
        pool.close()


def test_what_a_worker_lent_is_kept_before_it_is_called_again(start):
    """One of two workers is lost for good; the other, whose answer is in use, computes its shards into the same memory."""
    load = workload(rows=400, shards=8, sizes=(6, APART_BYTES // 8, 3))
    start = load.training.network.initial_parameters(0)

    class Unlucky(RayTransport):
        """Worker 1 is lost as soon as worker 0 has answered, and there is no other."""

        lose = lost = False

        def next_event(self, patience):
            event = super().next_event(patience)
            while self.lose and isinstance(event, CallAnswered) and event.worker == 1:
                event = super().next_event(patience)
            if self.lose and not self.lost and isinstance(event, CallAnswered):
                self._events.append(WorkerLost(1, "for the test", replaceable=False))
                self.lost = True
            return event

    transport = Unlucky()
    pool = TransportPool(transport, 2, load)
    try:
        practise(pool, start)
        transport.lose = True
        found = pool.sum(GRADIENT, start).gradient.tobytes()
        assert pool.workers == 1
        assert found == serial_pool(load).sum(GRADIENT, start).gradient.tobytes()
    finally:
        pool.close()
