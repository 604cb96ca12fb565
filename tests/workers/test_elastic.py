"""Workers that join and leave while a pool works: real actors on a Ray that is short of CPUs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import ray
from sources import workload

import dbp
from dbp.errors import TooFewWorkersError, WorkersLostError
from dbp.sums.messages import SumTask
from dbp.sums.pool import TransportPool, serial_pool
from dbp.workers.nodes import Fitness, own_versions
from dbp.workers.placement import Need, Room, wait_for_room
from dbp.workers.ray_pool import RayTransport
from dbp.workers.seats import seated_pool

pytestmark = pytest.mark.usefixtures("local_ray")

GRADIENT = SumTask("gradient", "train")
CPUS = 6  # of `local_ray`


@ray.remote(num_cpus=1)
class Tenant:
    """Somebody else's."""

    def here(self) -> bool:
        return True


@pytest.fixture
def tenants() -> Iterator[list]:
    """All CPUs but one are taken."""
    there = [Tenant.remote() for _ in range(CPUS - 1)]
    ray.get([tenant.here.remote() for tenant in there])
    yield there
    for tenant in there:
        ray.kill(tenant)


def until(pool, load, condition: Callable[[], bool]) -> None:
    """Sum on and on until a condition holds; every sum has the bits of this process."""
    theta = load.training.network.initial_parameters(0)
    expected = serial_pool(load).sum(GRADIENT, theta).gradient.tobytes()
    deadline = time.monotonic() + 120
    while True:
        assert pool.sum(GRADIENT, theta).gradient.tobytes() == expected
        if condition():
            return
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def test_workers_join_when_there_is_room_and_leave_without_a_pause(tenants):
    load, told = workload(rows=400, shards=8), []
    transport = RayTransport(required=1)
    pool = TransportPool(transport, 3, load, told.append, required=1)
    try:
        until(pool, load, lambda: True)
        assert pool.workers == 1
        ray.kill(tenants.pop())
        until(pool, load, lambda: pool.workers == 2)
        ray.kill(tenants.pop())
        until(pool, load, lambda: pool.workers == 3)
        assert not [text for text in told if " is late: " not in text]  # on a busy machine one may be
        tenants += [Tenant.remote() for _ in range(2)]  # they wait for a CPU that becomes free
        leaver = max(transport.pids())
        os.kill(transport.pids()[leaver], signal.SIGKILL)
        until(pool, load, lambda: bool(told))
        assert f"worker {leaver} was lost" in told[0]
    finally:
        pool.close()


def test_in_a_room_only_the_required_workers_have_places(tenants):
    load = workload(rows=400, shards=8)
    room = Room.reserve(Need(1, {"CPU": 1.0}), "elastic")
    try:
        assert wait_for_room(room, lambda sentence: None, lambda: False)
        pool = seated_pool(load, room, 2, required=1)
        try:
            until(pool, load, lambda: True)
            assert pool.workers == 1
            ray.kill(tenants.pop())
            until(pool, load, lambda: pool.workers == 2)
        finally:
            pool.close()
    finally:
        room.release()


@pytest.mark.long
def test_workers_give_way_to_a_job_that_waits_for_room_and_come_back():
    """Only those beyond the required ones, as many as are needed; the other has its room while this one works on."""
    load, told = workload(rows=400, shards=8), []
    room = Room.reserve(Need(1, {"CPU": 1.0}, strictly=True), "dbp here-1")
    assert wait_for_room(room, lambda sentence: None, lambda: False)
    pool = seated_pool(load, room, CPUS, told.append, required=1)
    try:
        until(pool, load, lambda: pool.workers == CPUS)
        other = Room.reserve(Need(3, {"CPU": 1.0}), "dbp other-1")
        try:
            until(pool, load, other.is_whole)
            assert pool.workers == 3
            assert [line for line in told if "leave" in line] == [
                "3 workers leave, for jobs that wait for room: other-1 (3)"
            ]
            assert not any("was lost" in line for line in told)
        finally:
            other.release()
        until(pool, load, lambda: pool.workers == CPUS)
    finally:
        pool.close()
        room.release()


def test_where_no_worker_can_run_a_job_with_a_range_waits_and_another_fails():
    """The coordinator has other versions than this node; both name them."""
    other = Fitness("10.0.0.9", {**own_versions(), "numpy": "0.1"}, ())
    room = Room.reserve(Need(1, {"CPU": 1.0}), "unfit")
    assert wait_for_room(room, lambda sentence: None, lambda: False)
    try:
        for required, error in ((1, TooFewWorkersError), (None, WorkersLostError)):
            told: list[str] = []
            pool = seated_pool(
                workload(rows=40), room, 1 if required is None else 2, told.append, None, required, None, other
            )
            try:
                with pytest.raises(error) as raised:
                    pool.sum(GRADIENT, workload(rows=40).training.network.initial_parameters(0))
            finally:
                pool.close()
            assert type(raised.value) is error
            assert any("has numpy " in line and "10.0.0.9 has 0.1" in line for line in told)
    finally:
        room.release()


def test_a_job_may_say_how_few_and_how_many(tmp_path):
    """On one machine there are as many as it has CPUs; the bits are those of one."""
    lines = ["a,b,label", *(f"{row % 7},{row % 5},{'yes' if row % 7 > row % 5 else 'no'}" for row in range(70))]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    text = f"""
name: elastic
data: {{train: {tmp_path}/table.csv, target: label}}
task: classification
network: {{hidden: [4]}}
optimizer: {{name: lbfgs}}
training: {{max_steps: 5}}
storage: {tmp_path}/runs
workers: """
    found = [dbp.train(dbp.Job.from_text(text + workers)).summary for workers in ("0", "{min: 1, max: 2}")]
    assert len({summary.parameters_sha256 for summary in found}) == 1
