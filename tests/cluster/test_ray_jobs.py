"""Through Ray's own job interface: submitted, stopped, and what is left when the head is gone."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient
from ray_nodes import Cluster, cluster
from submitted_jobs import sha256_of, stage, stage_resume, undisturbed, wait_for

from dbp.jobs.status import Status, describe_state
from dbp.workers.local_ray import WORKER_ENVIRONMENT

LONG_JOB = ("training.max_steps=6000", "checkpoint.every=50", "training.validate_every=100")
ENTRYPOINT = "exec python -m dbp.workers.entrypoint"
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def start_head(made: Cluster) -> JobSubmissionClient:
    made.start_head(cpus=2, dashboard=True)
    made.wait_for_nodes(1)
    deadline = time.monotonic() + 120
    while True:
        try:
            client = JobSubmissionClient(f"http://{made.ip}:{made.dashboard}")
            client.list_jobs()
            return client
        except (ConnectionError, RuntimeError):
            assert time.monotonic() < deadline
            time.sleep(1)


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    # `python` in the entry point is the one that Ray's nodes find first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with cluster(PATH=path) as made:
        yield made


def submit(client: JobSubmissionClient, folder: Path, submission_id: str) -> None:
    environment = {"RAY_JOB_STOP_WAIT_TIME_S": "600", **WORKER_ENVIRONMENT}
    client.submit_job(
        entrypoint=ENTRYPOINT,
        submission_id=submission_id,
        metadata={"dbp_job": "a-1"},
        runtime_env={"working_dir": str(folder), "env_vars": environment},
    )


def wait_for_job(client: JobSubmissionClient, submission_id: str) -> JobStatus:
    deadline = time.monotonic() + 200
    while not (status := client.get_job_status(submission_id)).is_terminal():
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return status


def trains(status: Status) -> bool:
    return status.state == "RUNNING" and status.step > 200


def wait_for_training(client: JobSubmissionClient, home: Path) -> None:
    try:
        wait_for(home, trains, 200)
    except AssertionError:
        raise AssertionError(client.get_job_logs("a-1")) from None


def test_a_job_is_stopped_by_ray_and_outlives_its_head(head: Cluster, tmp_path: Path) -> None:
    """Ray's stop leaves a checkpoint. With the head go Ray's list of jobs and their logs; the job directory has all that it takes
    to go on, to the same bits, on the head's successor.
    """
    home = tmp_path / "runs/a-1"
    client = start_head(head)
    submit(client, stage(tmp_path / "staged", "a-1", tmp_path / "runs", "workers=2", *LONG_JOB), "a-1")
    wait_for_training(client, home)
    client.stop_job("a-1")
    assert wait_for_job(client, "a-1") in (JobStatus.STOPPED, JobStatus.SUCCEEDED)
    stopped = wait_for(home, lambda status: status.state == "STOPPED")
    assert stopped.message == f"stopped on request after step {stopped.step}"
    assert f"STOPPED: {stopped.message}" in client.get_job_logs("a-1")

    submit(client, stage_resume(tmp_path / "again", "a-1", tmp_path / "runs"), "a-1.attempt-2")
    wait_for(home, lambda status: trains(status) and status.step > stopped.step + 200)
    assert {"a-1", "a-1.attempt-2"} <= {job.submission_id for job in client.list_jobs()}
    head.nodes.pop().kill()
    deadline = time.monotonic() + 120  # workers notice that their node is gone
    while (shown := describe_state(wait_for(home, lambda status: True))).state != "LOST":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert shown.message.endswith("continue with `dbp resume a-1`")

    client = start_head(head)
    assert not [job for job in client.list_jobs() if job.submission_id]
    submit(client, stage_resume(tmp_path / "third", "a-1", tmp_path / "runs", attempt=3), "a-1.attempt-3")
    assert wait_for_job(client, "a-1.attempt-3") == JobStatus.SUCCEEDED
    ended = wait_for(home, lambda status: status.state == "SUCCEEDED")
    assert ended.attempt == 3
    assert sha256_of(home) == undisturbed(tmp_path, *LONG_JOB)
