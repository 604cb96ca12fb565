"""Who replaces a dead coordinator: the decision, which is arithmetic, and what kills can do that drivers' tests do not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from small_jobs import small_job
from submitted_jobs import log_of, sha256_of, undisturbed, wait_for

import dbp.workers.supervisor as module
from dbp.errors import NonFiniteLossError, TooFewWorkersError, WorkersLostError
from dbp.jobs.job import Job
from dbp.jobs.status import Status
from dbp.training.stopping import StopRequest
from dbp.workers.coordinator_actor import Ended, Order, ended_by
from dbp.workers.home import Home, new_home
from dbp.workers.run_records import write_job
from dbp.workers.supervisor import Died, Restarts, Supervisor, cause_of_death, outlived

LONG_JOB = ("training.max_steps=6000", "checkpoint.every=50", "training.validate_every=100")
KILLED = Died("pid 7 on a: its process died")


def test_a_death_is_made_good_up_to_the_limit() -> None:
    restarts = Restarts(2)
    for number in (1, 2):
        assert restarts.after(KILLED, stopping=False, job="a-1") == (
            "the coordinator died (pid 7 on a: its process died); a new one goes on from the newest checkpoint "
            f"(restart {number} of 2)"
        )
    assert restarts.after(KILLED, stopping=False, job="a-1") == Ended(
        "FAILED",
        "the coordinator died 3 times, and service.restarts is 2; the last time: pid 7 on a: its process died; what it had "
        "reached is kept; go on with `dbp resume a-1`",
    )


def test_a_job_that_waits_for_workers_uses_up_no_restart() -> None:
    restarts, short = Restarts(0), Died("1 of at least 2 workers is left", by_itself=False)
    for _ in range(3):
        assert restarts.after(short, stopping=False, job="a-1") == (
            "training pauses (1 of at least 2 workers is left); it goes on where it was when there is room"
        )
    stopped = restarts.after(short, stopping=True, job="a-1")
    assert isinstance(stopped, Ended)
    assert (stopped.state, stopped.message[:44]) == ("STOPPED", "stopped on request while it waited for worke")
    assert isinstance(restarts.after(KILLED, stopping=False, job="a-1"), Ended)


def test_a_job_that_was_asked_to_stop_is_not_started_again() -> None:
    ended = Restarts(2).after(KILLED, stopping=True, job="a-1")
    assert isinstance(ended, Ended)
    assert ended.state == "STOPPED"
    assert "the coordinator died before its checkpoint (pid 7 on a: its process died)" in ended.message


def test_workers_that_went_with_their_nodes_are_no_failure_of_the_job() -> None:
    """Those that died by themselves are: rows that kill every worker would kill the next ones too."""
    deserted = ended_by(WorkersLostError("worker 1 did not start within 120 s"))
    assert outlived(deserted, room_is_whole=False) == Died("worker 1 did not start within 120 s")
    assert outlived(deserted, room_is_whole=True) == deserted
    short = ended_by(TooFewWorkersError("1 of at least 2 workers is left"))
    assert outlived(short, room_is_whole=True) == Died("1 of at least 2 workers is left", by_itself=False)
    failed = ended_by(NonFiniteLossError("the loss became nan"))
    assert outlived(failed, room_is_whole=False) == failed
    assert outlived(KILLED, room_is_whole=True) == KILLED


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (
            "The actor died unexpectedly before finishing this task.\n\tclass_name: Coordinator\n"
            "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
            "unexpectedly exits with a connection error code 2. End of file. Common causes include: (1) the process was killed "
            "by the OOM killer due to high memory usage, (2) ray stop --force is called, or (3) the worker crashed unexpectedly.",
            "its process died",
        ),
        ("The actor is dead because its node has died. Node Id: 1234", "its node was lost"),
        (
            "Task was killed due to the node running low on memory.",
            "Ray killed its process because the node's memory was full",
        ),
        ("The actor is temporarily unavailable: IOError", "the connection to it broke"),
        ("The actor is dead because a thing.", "a thing."),
        ("", "it died"),
    ],
)
def test_a_cause_of_death_is_told_in_a_few_words(report: str, words: str) -> None:
    assert cause_of_death(report) == words


@pytest.fixture
def supervise(local_ray, tmp_path: Path) -> Callable[..., Supervisor]:
    """Make a job directory and its supervisor, in this process."""

    def make(*overrides: str, restarts: int = 3) -> Supervisor:
        with new_home(str(tmp_path / "runs"), "a-1") as directory:
            write_job(directory, small_job(tmp_path, "workers=2", *overrides))
        said: list[str] = []
        return Supervisor(
            home=Home(str(tmp_path / "runs"), "a-1"),
            job=Job.from_file(directory.job_file),
            order=lambda room: Order(str(tmp_path / "runs"), "a-1", (), room),
            restarts=restarts,
            stop=StopRequest(),
            say=said.append,
        )

    return make


def when(supervisor: Supervisor, condition: Callable[[Status], bool], do: Callable[[Status], None]) -> threading.Thread:
    """Do something to a job once its status is as wanted."""
    thread = threading.Thread(target=lambda: do(wait_for(Path(supervisor.home.place), condition)))
    thread.start()
    return thread


def trains(status: Status) -> bool:
    return status.state == "RUNNING" and status.step > 100


@pytest.mark.long
def test_a_coordinator_that_hangs_is_replaced(
    supervise: Callable[..., Supervisor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray never reports a stopped process; one that does not answer is given up."""
    monkeypatch.setattr(module, "SILENT_S", 8.0)
    supervisor = supervise(*LONG_JOB)
    stopping = when(supervisor, trains, lambda status: os.kill(status.pid, signal.SIGSTOP))
    ended = supervisor.run()
    stopping.join()
    assert ended.state == "SUCCEEDED", ended
    assert "has not answered for 8 s); a new one goes on" in log_of(Path(supervisor.home.place))
    assert sha256_of(Path(supervisor.home.place)) == undisturbed(tmp_path, *LONG_JOB)


def test_a_stop_ends_a_job_whose_coordinator_dies_meanwhile(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise(*LONG_JOB)

    def stop(status: Status) -> None:
        os.kill(status.pid, signal.SIGSTOP)
        supervisor.stop.set()
        os.kill(status.pid, signal.SIGKILL)

    stopping = when(supervisor, trains, stop)
    ended = supervisor.run()
    stopping.join()
    assert ended.state == "STOPPED"
    assert wait_for(Path(supervisor.home.place), lambda status: status.state == "STOPPED").message == ended.message


def test_a_run_that_fails_by_itself_is_not_tried_again(supervise: Callable[..., Supervisor]) -> None:
    """Numbers that overflow do so again."""
    supervisor = supervise("optimizer.learning_rate=1e200", "data.standardize=false")
    ended = supervisor.run()
    assert (ended.state, ended.refused) == ("FAILED", False)
    assert "became" in ended.message
    status = wait_for(Path(supervisor.home.place), lambda status: True)
    assert (status.state, status.attempt, status.message) == ("FAILED", 1, ended.message)
