"""The status of a job that waits."""

from __future__ import annotations

from pathlib import Path

from small_jobs import small_job

import dbp
from dbp.jobs.directory import JobDirectory
from dbp.jobs.status import Status, read_status
from dbp.training.waiting import Waiting


def status_of(home: JobDirectory) -> Status:
    found = read_status(home.status_file)
    assert found is not None
    return found


def test_a_new_job_waits_as_its_first_attempt(tmp_path: Path) -> None:
    """What it waits for changes with every other job: the log has it once."""
    home = JobDirectory.create(tmp_path, "a-1")
    waiting = Waiting(home, small_job(tmp_path), "waits for room")
    for free in (0, 1, 0):
        waiting.waits_for(f"waits for 2 CPUs; the cluster has 2, {free} free")
    status = status_of(home)
    assert (status.state, status.attempt, status.step, status.max_steps) == ("PENDING", 1, 0, 400)
    assert status.message == "waits for 2 CPUs; the cluster has 2, 0 free"
    waiting.ended("STOPPED", "stopped on request while it waited")
    waiting.close()
    waiting.close()
    assert status_of(home).state == "STOPPED"
    assert len(home.log_file.read_text().splitlines()) == 2


def test_a_job_that_goes_on_keeps_what_it_has_reached(tmp_path: Path) -> None:
    """Whoever trains after the wait has the attempt's number; so has whoever waits in its stead."""
    directory = dbp.train(small_job(tmp_path, "training.max_steps=7")).directory
    home = JobDirectory(directory)
    for _ in range(2):
        waiting = Waiting(home, small_job(tmp_path), "waits for room")
        waiting.close()
        status = status_of(home)
        assert (status.state, status.attempt, status.step, status.max_steps) == ("PENDING", 2, 7, 400)
        assert status.loss is not None
    dbp.resume(directory, overrides=["training.max_steps=9"])
    assert (status_of(home).state, status_of(home).attempt) == ("SUCCEEDED", 2)
