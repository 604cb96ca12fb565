"""Who owes which shard: a machine driven by hand, event by event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbp.sums.assignment import Assignment, GiveUp, ReportLate, SendCall, StartWorker
from dbp.sums.pace import HICCUP_S, READING_S, SEVERAL


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


def test_a_task_that_a_dead_worker_finished_forgives_the_deaths_before_it_too():
    """Its answer comes after it was given up, and completes the sum (found by the simulation, seed 4033)."""
    machine = started(1, patience=1)
    (send,) = machine.begin("train", range(8))
    assert machine.lost(0, "no sign of life") == [StartWorker(1)]
    assert machine.is_current(send.number)  # its sums are added: the task is done
    assert machine.answered(0, send.number) == []
    machine.begin("train", range(8))
    assert machine.lost(1, "killed") == [StartWorker(2)]


def test_answers_of_dead_workers_and_former_tasks_are_known_for_what_they_are():
    machine = started(2)
    old, other = machine.begin("train", range(8))
    assert machine.begin("train", range(8)) == []  # both are still busy: one call at a time
    assert not machine.is_current(old.number)
    (new,) = machine.answered(0, old.number)
    assert machine.is_current(new.number)
    machine.lost(0, "killed")
    assert machine.answered(0, new.number) == []  # usable, but nobody waits for it
    assert machine.ready(2)[0].shards == (0, 1, 2, 3)
    assert machine.answered(1, other.number)[0].shards == (4, 5, 6, 7)


def practised(workers: int, shards: int = 8, patience: int = 3) -> Assignment:
    """Everybody has done one task in a second, so that it is known what a shard takes and all rows are loaded."""
    machine = started(workers, shards, patience)
    for kind in ("load", "gradient"):
        for send in machine.begin("train", range(shards), 0.0, kind):
            machine.answered(send.worker, send.number, 1.0)
    return machine


def sent(instructions):
    return [(each.worker, each.shards) for each in instructions if isinstance(each, SendCall)]


def test_the_shards_of_a_late_worker_are_computed_by_whoever_is_idle_and_the_first_answer_wins():
    machine = practised(3, 9)
    first, slow, last = machine.begin("train", range(9), 10.0)
    assert machine.next_look() is None  # nobody is idle
    machine.answered(0, first.number, 11.0)
    limit = machine.next_look()
    assert limit == 10.0 + HICCUP_S + SEVERAL * 1.0
    assert machine.look(limit - 0.01) == []
    report, send = machine.look(limit)
    assert report == ReportLate(1, limit - 10.0, limit - 10.0, (0,))
    assert (send.worker, send.shards) == (0, (3, 4, 5))
    machine.answered(2, last.number, limit)
    assert machine.look(limit + 1) == []  # a worker is late once, and its stand-in has its own time
    assert machine.answered(0, send.number, limit + 1) == []
    assert machine.is_current(slow.number)  # its answer would do as well


def test_a_late_worker_rests_until_it_has_answered_and_a_little_longer():
    machine = practised(2)
    first, slow = machine.begin("train", range(8), 10.0)
    machine.answered(0, first.number, 11.0)
    (send,) = [each for each in machine.look(20.0) if isinstance(each, SendCall)]
    machine.answered(0, send.number, 21.0)
    for now in (30.0, 40.0):  # the other does everything
        (send,) = machine.begin("train", range(8), now)
        assert (send.worker, send.shards) == (0, tuple(range(8)))
        assert machine.answered(0, send.number, now + 2) == []
    assert machine.answered(1, slow.number, 45.0) == []  # 2 tasks of rest
    assert sent(machine.begin("train", range(8), 50.0)) == [(0, tuple(range(8)))]
    machine.answered(0, machine._slots[0].call.number, 52.0)
    assert sent(machine.begin("train", range(8), 60.0)) == [(0, tuple(range(8)))]
    machine.answered(0, machine._slots[0].call.number, 62.0)
    assert sent(machine.begin("train", range(8), 70.0)) == [(0, (0, 1, 2, 3)), (1, (4, 5, 6, 7))]


def test_a_late_worker_that_is_lost_is_missed_by_nobody_until_the_new_one_is_there():
    machine = practised(2)
    first, _ = machine.begin("train", range(8), 10.0)
    machine.answered(0, first.number, 11.0)
    machine.look(20.0)
    assert machine.lost(1, "frozen", now=30.0) == [StartWorker(2)]
    machine.answered(0, machine._slots[0].call.number, 31.0)
    assert sent(machine.begin("train", range(8), 40.0)) == [(0, tuple(range(8)))]
    machine.answered(0, machine._slots[0].call.number, 41.0)
    assert machine.ready(2, 45.0) == []
    assert sent(machine.begin("train", range(8), 50.0)) == [(0, (0, 1, 2, 3)), (2, (4, 5, 6, 7))]


def test_who_reads_rows_for_the_first_time_has_more_time():
    machine = practised(2)
    machine.recut({"train": 16})
    first, _ = machine.begin("train", range(16), 10.0)
    machine.answered(0, first.number, 11.0)
    assert machine.next_look() == pytest.approx(10.0 + READING_S + SEVERAL * 2.0)


def test_when_everybody_rests_everybody_works():
    machine = practised(2)
    for slot in machine._slots:
        slot.rest = 5
    assert len(machine.begin("train", range(8), 10.0)) == 2


def test_a_closed_slots_shards_are_owed_once_where_somebody_stood_in_already():
    machine = practised(3, 9, patience=0)
    first, _, last = machine.begin("train", range(9), 10.0)
    machine.answered(0, first.number, 11.0)
    machine.answered(2, last.number, 11.0)
    stand_ins = sent(machine.look(30.0))
    assert sorted(shard for _, shards in stand_ins for shard in shards) == [3, 4, 5]
    assert sent(machine.lost(1, "killed")) == []


def elastic(required: int, workers: int, shards: int = 8) -> Assignment:
    machine = Assignment(workers, {"train": shards}, required=required)
    machine.start()
    return machine


def test_only_the_required_workers_are_waited_for_and_the_first_to_come_will_do():
    machine = elastic(2, 4)
    assert machine.begin("train", range(8)) == []
    assert sent(machine.ready(3)) == [(3, (0, 1, 2, 3))]
    assert sent(machine.ready(1)) == [(1, (4, 5, 6, 7))]
    assert sent(machine.ready(0)) == []  # from the next task on


def test_workers_that_join_take_an_even_share_and_the_others_keep_the_rest():
    machine = elastic(1, 3, 12)
    machine.ready(0)
    (send,) = machine.begin("train", range(12))
    machine.answered(0, send.number)
    machine.ready(1)
    machine.ready(2)
    shares = dict(sent(machine.begin("train", range(12))))
    assert {worker: len(shards) for worker, shards in shares.items()} == {0: 4, 1: 4, 2: 4}
    assert set(shares[0]) == {0, 1, 2, 3}  # where it is at home
    assert list(shares[1]) == [4, 5, 6, 7]


def test_what_a_worker_owed_that_left_goes_to_the_others_at_once():
    machine = elastic(1, 2)
    machine.ready(0)
    machine.ready(1)
    first, _ = machine.begin("train", range(8))
    machine.answered(0, first.number)
    start, send = machine.lost(1, "its node was taken away")
    assert start == StartWorker(2)
    assert (send.worker, send.shards) == (0, (4, 5, 6, 7))
    machine.answered(0, send.number)
    assert sent(machine.begin("train", range(8))) == [(0, tuple(range(8)))]


def test_workers_that_give_way_are_no_deaths():
    """However many leave in one task, the next death is made good all the same."""
    machine = elastic(1, 2)
    machine.ready(0)
    worker = 1
    for _ in range(10):
        machine.ready(worker)
        machine.begin("train", range(8))
        start, *_ = machine.left(worker)
        assert isinstance(start, StartWorker)
        worker = start.worker
    assert machine.workers == 1
    assert machine.lost(0, "killed")[0] == StartWorker(worker + 1)
    assert machine.left(999) == []


def test_when_fewer_are_left_than_are_required_their_successors_are_waited_for():
    machine = elastic(2, 3)
    for worker in range(3):
        machine.ready(worker)
    machine.begin("train", range(8))
    assert len(machine.lost(0, "killed")) == 1  # worker 1 and 2 are busy with their own
    assert machine.lost(1, "killed") == [StartWorker(4)]
    assert machine.workers == 1
    assert sent(machine.ready(3)) != []


def test_a_worker_that_may_never_come_is_not_waited_for_while_a_late_one_rests():
    """Found by the simulation: seeds 918, 3192, 6424, 6615."""
    machine = elastic(2, 3)
    for worker in (0, 1):
        machine.ready(worker)
    for kind in ("load", "gradient"):
        for send in machine.begin("train", range(8), 0.0, kind):
            machine.answered(send.worker, send.number, 1.0)
    first, _ = machine.begin("train", range(8), 10.0)
    machine.answered(0, first.number, 11.0)
    machine.look(60.0)
    machine.answered(0, machine._slots[0].call.number, 61.0)
    assert sent(machine.begin("train", range(8), 70.0)) == [(0, tuple(range(8)))]


@given(st.integers(1, 12), st.integers(1, 40), st.data())
def test_whatever_dies_every_shard_is_asked_for_until_answered_or_nobody_is_left(workers, shards, data):
    required = data.draw(st.integers(1, workers))
    machine = Assignment(workers, {"train": shards}, data.draw(st.integers(0, 5)), required)
    waiting, calls, done = [*machine.start(), *machine.begin("train", range(shards))], {}, set()
    now = 0.0
    for _ in range(400):
        now += data.draw(st.sampled_from([0.0, 0.1, 1.0, 50.0]))
        waiting = [*waiting, *machine.look(now)]
        for instruction in waiting:
            if isinstance(instruction, SendCall):
                calls[instruction.worker] = instruction
            elif isinstance(instruction, StartWorker):
                calls[instruction.worker] = None
            elif isinstance(instruction, ReportLate):
                assert instruction.others
            else:
                assert not done.issuperset(range(shards))
                return
        if not calls or done.issuperset(range(shards)):
            break
        worker = data.draw(st.sampled_from(sorted(calls)))
        call = calls.pop(worker)
        if data.draw(st.integers(0, 3)) == 0:
            waiting = machine.lost(worker, "killed", now=now)
        elif call is None:
            waiting = machine.ready(worker, now)
        else:
            done.update(call.shards)
            waiting = machine.answered(worker, call.number, now)
    assert done == set(range(shards))


@pytest.mark.parametrize(("workers", "shards"), [(1, 1), (5, 3), (64, 8)])
def test_more_workers_than_shards_leaves_some_idle(workers, shards):
    sends = started(workers, shards).begin("train", range(shards))
    assert sorted(shard for send in sends for shard in send.shards) == list(range(shards))
