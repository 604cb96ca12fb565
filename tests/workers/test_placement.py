"""Room on a cluster: whether it can ever be, what is waited for, and that it is given whole or not at all."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from small_jobs import small_job
from sources import CorruptRows, RandomRows, workload

from dbp.sums.assignment import Assignment, StartWorker
from dbp.sums.audit import Audit
from dbp.sums.messages import SumTask
from dbp.sums.pool import TransportPool, serial_pool
from dbp.workers.placement import Need, Room, wait_for_room, waits_for
from dbp.workers.places import most_places
from dbp.workers.seats import SeatedTransport, seated_pool

TWO_CPUS = Need(2, {"CPU": 1.0})


def test_a_jobs_need_is_a_place_for_each_worker(tmp_path) -> None:
    asked = "service={memory_per_worker: 1000, resources: {big: 2}}"
    assert Need.of(small_job(tmp_path, "workers=3")) == Need(3, {"CPU": 1.0})
    assert Need.of(small_job(tmp_path, "workers=3", asked)) == Need(3, {"CPU": 1.0, "big": 2.0, "memory": 1000.0})
    assert Need.of(small_job(tmp_path, "workers={min: 2, max: 3}")) == Need(2, {"CPU": 1.0}, strictly=True)
    assert Need.of(small_job(tmp_path, "workers=0")) == Need(1, {"CPU": 1.0})  # its coordinator computes
    assert Need.of(small_job(tmp_path, "workers={threads: 3}")) == Need(1, {"CPU": 3.0})
    waiting = waits_for(
        Need.of(small_job(tmp_path, "workers={threads: 3}")), [{"CPU": 2.0}, {"CPU": 2.0}], {"CPU": 4.0}
    )
    assert waiting == "waits for 1 place with 3 CPU; the cluster has none: it begins when nodes are added"


@pytest.mark.parametrize(
    ("nodes", "each", "most"),
    [
        ([{"CPU": 2.0}, {"CPU": 3.0}], {"CPU": 1.0}, 5),
        ([{"CPU": 2.0, "big": 1.0}, {"CPU": 3.0}], {"CPU": 1.0, "big": 1.0}, 1),
        ([{"CPU": 8.0, "memory": 2.5e9}], {"CPU": 1.0, "memory": 1e9}, 2),
        ([{"CPU": 0.5}, {"CPU": 0.5}], {"CPU": 1.0}, 0),
        ([{}], {"CPU": 1.0}, 0),
        ([], {"CPU": 1.0}, 0),
    ],
)
def test_a_place_is_on_one_node(nodes, each, most) -> None:
    assert most_places(each, nodes) == most


@pytest.mark.parametrize(
    ("need", "free", "sentence"),
    [
        (TWO_CPUS, 0.0, "waits for 2 CPUs; the cluster has 2, 0 free"),
        (TWO_CPUS, 1.7, "waits for 2 CPUs; the cluster has 2, 1 free"),
        (
            Need(4, {"CPU": 1.0}),
            2.0,
            "waits for 4 CPUs; the cluster has only 2: it begins when nodes are added, or when it is resumed with fewer workers "
            "(--set workers=2)",
        ),
        (
            Need(1, {"CPU": 1.0, "memory": 3.0 * 2**30}),
            2.0,
            "waits for 1 place with 1 CPU and 3 GiB of memory; the cluster has none: it begins when nodes are added",
        ),
        (
            Need(2, {"CPU": 1.0, "big": 2.0}),
            2.0,
            "waits for 2 places with 1 CPU and 2 big; the cluster has only 1: it begins when nodes are added, or when it is "
            "resumed with fewer workers (--set workers=1)",
        ),
        (
            Need(1, {"CPU": 1.0, "big": 1.0}),
            0.0,
            "waits for 1 place with 1 CPU and 1 big; the cluster has 2, not enough of them free",
        ),
    ],
)
def test_what_is_waited_for_is_a_sentence(need, free, sentence) -> None:
    nodes = [{"CPU": 0.0}, {"CPU": 2.0, "big": 2.0, "memory": 2.0 * 2**30}]
    assert waits_for(need, nodes, {"CPU": free}) == sentence


def test_a_job_that_had_its_room_goes_on() -> None:
    nodes = [{"CPU": 1.0}]
    assert waits_for(TWO_CPUS, nodes, {}, "goes on") == (
        "waits for 2 CPUs; the cluster has only 1: it goes on when nodes are added, or when it is resumed with fewer workers "
        "(--set workers=1)"
    )


def test_a_worker_for_whom_there_is_no_room_is_not_started_again() -> None:
    """The others owe its shards at once; with room, a dead one is replaced."""
    with_room, without = Assignment(2, {"train": 4}), Assignment(2, {"train": 4})
    for each in (with_room, without):
        each.begin("train", range(4))
        for worker in (0, 1):
            each.ready(worker)
    assert with_room.lost(1, "died") == [StartWorker(2)]
    assert without.lost(1, "no room", replaceable=False) == []
    assert without._slots[0].owed == [0, 1, 2, 3]


@pytest.fixture
def room(local_ray) -> Iterator[Room]:
    made = Room.reserve(TWO_CPUS, "test")
    assert wait_for_room(made, lambda sentence: None, lambda: False)
    yield made
    made.release()


def test_workers_run_in_their_places_and_dead_ones_are_replaced_there(room: Room) -> None:
    load, told = workload(rows=400, shards=8), []
    transport = SeatedTransport(room, told.append)
    pool = TransportPool(transport, 2, load, told.append)
    try:
        theta = load.training.network.initial_parameters(0)
        expected = serial_pool(load).sum(SumTask("gradient", "train"), theta).gradient.tobytes()
        assert pool.sum(SumTask("gradient", "train"), theta).gradient.tobytes() == expected
        for pid in transport.pids().values():
            os.kill(pid, signal.SIGKILL)
        assert pool.sum(SumTask("gradient", "train"), theta).gradient.tobytes() == expected
        assert pool.workers == 2
    finally:
        pool.close()
    assert len(told) == 2


def test_where_a_place_is_gone_the_others_go_on(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a node is lost and no other has room; one line says so."""
    load, told = workload(rows=400, shards=8), []
    transport = SeatedTransport(room)
    pool = TransportPool(transport, 2, load, told.append)
    try:
        theta = load.training.network.initial_parameters(0)
        expected = serial_pool(load).sum(SumTask("gradient", "train"), theta).gradient.tobytes()
        pool.sum(SumTask("gradient", "train"), theta)
        monkeypatch.setattr(Room, "has", lambda self, place: False)
        os.kill(transport.pids()[1], signal.SIGKILL)
        assert pool.sum(SumTask("gradient", "train"), theta).gradient.tobytes() == expected
        assert pool.workers == 1
    finally:
        pool.close()
    assert told[-1] == "worker 2 was lost (there is no room for it); the other workers compute its shards"


def test_a_place_is_tried_out(room: Room) -> None:
    assert [room.has(place) for place in room.places()] == [True, True]


def test_room_that_is_taken_is_waited_for(room: Room) -> None:
    """The session's Ray has six CPUs, two of them in another room; who waits can be stopped."""
    five, told, stop = Room.reserve(Need(5, {"CPU": 1.0}), "five"), [], threading.Event()
    try:
        threading.Timer(2, stop.set).start()
        assert not wait_for_room(five, told.append, stop.is_set)
        assert told[-1] == "waits for 5 CPUs; the cluster has 6, 4 free"
        threading.Timer(1, room.release).start()
        assert wait_for_room(five, told.append, lambda: False)
    finally:
        five.release()


def test_other_resources_are_reserved_too(local_ray) -> None:
    """Of memory there is some on every node; workers get their share of it."""
    room = Room.reserve(Need(2, {"CPU": 1.0, "memory": 1e6}), "memory")
    try:
        assert wait_for_room(room, lambda sentence: None, lambda: False)
        load = workload(rows=400, shards=8)
        pool = seated_pool(load, room, 2)
        try:
            pool.sum(SumTask("gradient", "train"), load.training.network.initial_parameters(0))
            assert pool.workers == 2
        finally:
            pool.close()
    finally:
        room.release()


def test_a_released_room_ends_what_runs_in_it(room: Room) -> None:
    sleeper = ray.remote(lambda: time.sleep(100)).options(
        num_cpus=0, max_retries=0, scheduling_strategy=PlacementGroupSchedulingStrategy(room.group, 0)
    )
    sleeping = sleeper.remote()
    assert not ray.wait([sleeping], timeout=2)[0]
    room.release()
    assert ray.wait([sleeping], timeout=60)[0]


def test_a_wrong_worker_is_replaced_in_its_place(room: Room, tmp_path) -> None:
    """An audit in a room: the worker whose bits are wrong goes, its place is free again, and another has it."""
    marker, told = tmp_path / "wrong", []
    load = workload(rows=200, shards=8, source=CorruptRows(6, 3, 200, marker=marker))
    right = serial_pool(workload(rows=200, shards=8, source=RandomRows(6, 3, 200)))
    theta = load.training.network.initial_parameters(0)
    pool = seated_pool(load, room, 2, told.append, audit=Audit(1.0, seed=0))
    try:
        pool.sum(SumTask("load", "train"))
        for step in range(1, 4):
            task = SumTask("gradient", "train", step)
            assert pool.sum(task, theta).gradient.tobytes() == right.sum(task, theta).gradient.tobytes()
        assert pool.workers == 2
    finally:
        pool.close()
    (sentence,) = told
    assert f"(pid {marker.read_text()})" in sentence
    assert "was lost (audit: it computed shard" in sentence
    assert "worker 2 takes its place" in sentence
