"""Who owes which shard: a machine driven by hand, event by event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbp.sums.assignment import Assignment, GiveUp, SendCall, StartWorker


def started(workers: int, shards: int = 8, patience: int = 3) -> Assignment:
    machine = Assignment(workers, {"train": shards}, patience)
    machine.start()
    for worker in range(workers):
        machine.ready(worker)
    return machine


def test_workers_own_contiguous_runs():
    sends = started(3).begin("train", range(8))
    assert [send.shards for send in sends] == [(0, 1), (2, 3, 4), (5, 6, 7)]


def test_a_worker_that_is_still_starting_is_called_when_it_is_ready():
    machine = Assignment(2, {"train": 4})
    assert machine.start() == [StartWorker(0), StartWorker(1)]
    machine.ready(1)
    assert [send.worker for send in machine.begin("train", range(4))] == [1]
    assert machine.ready(0) == [SendCall(0, 1, (0, 1))]


def test_a_dead_worker_is_replaced_and_the_new_one_owes_its_shards():
    machine = started(2)
    machine.begin("train", range(8))
    assert machine.lost(1, "killed") == [StartWorker(2)]
    assert machine.workers == 1
    (send,) = machine.ready(2)
    assert send.shards == (4, 5, 6, 7)


def test_a_worker_that_dies_between_steps_owes_nothing_but_its_next_share():
    machine = started(2)
    for send in machine.begin("train", range(8)):
        machine.answered(send.worker, send.number)
    machine.lost(0, "killed")
    assert machine.ready(2) == []
    assert {send.worker for send in machine.begin("train", range(8))} == {1, 2}


def test_when_too_many_die_in_a_row_the_others_take_over():
    machine = started(2, patience=1)
    machine.begin("train", range(8))
    machine.lost(1, "killed")
    assert machine.lost(2, "killed again") == []  # worker 0 is busy with its own call
    (send,) = machine.answered(0, 0)
    assert send.worker == 0
    assert send.shards == (4, 5, 6, 7)


def test_an_answer_before_the_takeover_does_not_settle_the_inherited_shards():
    machine = started(2, patience=0)
    first, _ = machine.begin("train", range(8))
    machine.lost(1, "killed")
    sends = machine.answered(first.worker, first.number)
    assert [send.shards for send in sends] == [(4, 5, 6, 7)]


def test_when_nobody_is_left_it_gives_up_and_says_what_was_owed():
    machine = started(1, patience=0)
    machine.begin("train", range(8))
    (give_up,) = machine.lost(0, "its process died")
    assert isinstance(give_up, GiveUp)
    assert "its process died (it owed shards 0 to 7 of the train rows)" in give_up.reason


def test_a_finished_task_forgives_the_deaths_before_it():
    machine = started(1, patience=1)
    for worker in range(5):
        (send,) = machine.begin("train", range(8)) or machine.ready(worker)
        machine.answered(send.worker, send.number)
        assert machine.lost(worker, "killed") == [StartWorker(worker + 1)]
        machine.ready(worker + 1)


def test_answers_of_dead_workers_and_former_tasks_are_known_for_what_they_are():
    machine = started(2)
    old, _ = machine.begin("train", range(8))
    new, _ = machine.begin("train", range(8))
    assert not machine.is_current(old.number)
    assert machine.is_current(new.number)
    machine.lost(0, "killed")
    assert machine.answered(0, new.number) == []  # usable, but nobody waits for it
    assert machine.ready(2)[0].shards == (0, 1, 2, 3)


@given(st.integers(1, 12), st.integers(1, 40), st.data())
def test_whatever_dies_every_shard_is_asked_for_until_answered_or_nobody_is_left(workers, shards, data):
    machine = Assignment(workers, {"train": shards}, patience=data.draw(st.integers(0, 5)))
    waiting, calls, done = [*machine.start(), *machine.begin("train", range(shards))], {}, set()
    for _ in range(400):
        for instruction in waiting:
            if isinstance(instruction, SendCall):
                calls[instruction.worker] = instruction
            elif isinstance(instruction, StartWorker):
                calls[instruction.worker] = None
            else:
                assert not done.issuperset(range(shards))
                return
        if not calls or done.issuperset(range(shards)):
            break
        worker = data.draw(st.sampled_from(sorted(calls)))
        call = calls.pop(worker)
        if data.draw(st.integers(0, 3)) == 0:
            waiting = machine.lost(worker, "killed")
        elif call is None:
            waiting = machine.ready(worker)
        else:
            done.update(call.shards)
            waiting = machine.answered(worker, call.number)
    assert done == set(range(shards))


@pytest.mark.parametrize(("workers", "shards"), [(1, 1), (5, 3), (64, 8)])
def test_more_workers_than_shards_leaves_some_idle(workers, shards):
    sends = started(workers, shards).begin("train", range(shards))
    assert sorted(shard for send in sends for shard in send.shards) == list(range(shards))
