"""What a job is, from what Ray says and what its directory says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dbp.workers.ray_jobs import RayJob
from dbp.workers.service_view import ServiceJob, combine, group

ADDRESS = "http://head:8265"


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def driver(status="RUNNING", attempt=1, message="", seconds_ago=60.0, job="a-1") -> RayJob:
    name = job if attempt == 1 else f"{job}.attempt-{attempt}"
    metadata = {"dbp_job": job, "dbp_attempt": str(attempt), "dbp_storage": "/runs"}
    return RayJob(name, status, message, metadata, ago(seconds_ago).timestamp())


def facts(state="RUNNING", attempt=1, beat_ago=1.0, shown=None, **changes) -> dict[str, object]:
    status = {
        "job": "a-1", "state": state, "step": 7, "max_steps": 20, "loss": 0.5, "message": "training", "attempt": attempt,
        "heartbeat": ago(beat_ago).strftime("%Y-%m-%dT%H:%M:%SZ"), "pid": 1, "host": "elsewhere",
        "started": "2026-01-31T09:00:00Z", "workers": 2, "rule": None, "model_step": None, **changes,
    }  # fmt: skip
    described = {"job": "a-1", "directory": "/runs/a-1", "state": shown or state, "message": "training"}
    return {**described, "status": status, "attempt": attempt}


def seen(described, *attempts: RayJob):
    view = combine(ServiceJob("a-1", "/runs", attempts), described, ADDRESS)
    return view.state, view.message


@pytest.mark.parametrize(
    ("described", "attempts", "state", "word"),
    [
        (None, [driver("PENDING")], "PENDING", "starts"),
        (None, [driver("RUNNING")], "PENDING", "starts"),
        (None, [driver("STOPPED")], "STOPPED", "before it started"),
        (
            None,
            [driver("FAILED", message="Job failed:\nx\nFAILED: refused: no such column")],
            "FAILED",
            "no such column",
        ),
        (facts(), [driver()], "RUNNING", "training"),
        (facts("SUCCEEDED"), [driver("SUCCEEDED")], "SUCCEEDED", "training"),
        (facts("STOPPED"), [driver("STOPPED")], "STOPPED", "training"),
        (facts("STOPPED"), [driver("RUNNING")], "STOPPED", "training"),  # its driver is about to end
    ],
)
def test_the_usual(described, attempts, state, word):
    found = seen(described, *attempts)
    assert found[0] == state
    assert word in found[1]


@pytest.mark.parametrize("status", ["FAILED", "STOPPED", "SUCCEEDED"])
def test_a_job_that_says_it_runs_while_its_driver_has_ended_is_lost(status):
    state, message = seen(facts(), driver(status))
    assert state == "LOST"
    assert "dbp resume a-1" in message


def test_a_heart_that_stopped_is_the_supervisors_for_a_while_and_then_lost():
    assert seen(facts(beat_ago=50, shown="LOST"), driver())[0] == "RUNNING"
    state, message = seen(facts(beat_ago=500, shown="LOST"), driver(seconds_ago=900))
    assert state == "LOST"
    assert "dbp cancel a-1" in message


def test_the_status_of_an_attempt_before_is_not_that_of_the_one_that_starts():
    earlier = facts("STOPPED", attempt=1, beat_ago=100)
    assert seen(earlier, driver("STOPPED"), driver("PENDING", 2, seconds_ago=1)) == ("PENDING", "attempt 2 starts")
    refused = driver("FAILED", 2, "FAILED: refused: data changed", seconds_ago=1)
    assert seen(earlier, driver("STOPPED"), refused) == ("FAILED", "refused: data changed")


def test_an_ending_of_the_same_attempt_number_from_before_is_told_by_its_time():
    """The driver writes down its attempt first, and the status a moment later."""
    assert seen(facts("STOPPED", attempt=2, beat_ago=100), driver("RUNNING", 2, seconds_ago=5))[0] == "PENDING"


def test_a_job_that_ray_forgot_is_what_its_directory_says():
    assert seen(facts("SUCCEEDED"))[0] == "SUCCEEDED"
    assert seen(None)[0] == "UNKNOWN"


def test_jobs_are_grouped_by_id_with_their_attempts_in_order():
    others = RayJob("raysubmit_1", "RUNNING", "", {}, 1.0)
    reader = RayJob("dbp-reader-1", "RUNNING", "", {"dbp_reader": "1"}, 1.0)
    jobs = group([driver(attempt=10), driver(attempt=2), others, reader, driver(), driver(job="b-1")])
    assert list(jobs) == ["a-1", "b-1"]
    assert [job.id for job in jobs["a-1"].attempts] == ["a-1", "a-1.attempt-2", "a-1.attempt-10"]


def test_the_service_is_named_in_the_json():
    view = combine(ServiceJob("a-1", "/runs", (driver(),)), facts(), ADDRESS)
    assert view.to_json()["service"] == ADDRESS
    assert [view.to_json()[key] for key in ("job", "state", "step", "loss")] == ["a-1", "RUNNING", 7, 0.5]
