"""Drivers on a real head whose jobs are kept at a URI of a real S3 server: the same bits, whatever is killed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import Cluster, cluster
from s3_server import S3, SETTINGS
from submitted_jobs import log_of, sha256_of, stage, stage_resume, status_of, undisturbed, wait_for

import dbp
from dbp.jobs.status import Status
from dbp.storage.remote import open_folder

pytestmark = pytest.mark.long

LONG_JOB = ("training.max_steps=12000", "checkpoint.every=200", "training.validate_every=100")


@pytest.fixture(scope="module")
def head(_s3_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Its environment says where the store is, as that of `dbp up` would."""
    work = str(tmp_path_factory.mktemp("work"))
    with cluster(**SETTINGS, AWS_ENDPOINT_URL=_s3_server.endpoint, DBP_WORK_DIR=work) as made:
        made.start_head(cpus=2)
        made.wait_for_nodes(1)
        yield made


@pytest.fixture(scope="module")
def long_sha256(tmp_path_factory: pytest.TempPathFactory) -> str:
    return undisturbed(tmp_path_factory.mktemp("undisturbed"), *LONG_JOB)


def trains(status: Status) -> bool:
    return status.state == "RUNNING" and status.step > 200


def said(folder: Path) -> str:
    return (folder / "driver.log").read_text()


def last_line(folder: Path) -> str:
    return said(folder).strip().splitlines()[-1]


def left_over(head: Cluster) -> list[Path]:
    return list(Path(head.env["DBP_WORK_DIR"]).iterdir())


def test_a_job_at_a_uri_is_trained_to_the_bits_of_a_run_in_one_process(head: Cluster, s3: S3, tmp_path: Path) -> None:
    """Its table travelled and is kept at the URI, where a resume on any node finds it; nothing is left on the node."""
    folder = stage(tmp_path / "staged", "a-1", f"{s3.url}/runs", "workers=2", "training.max_steps=40")
    assert head.drive(folder).wait(180) == 0, said(folder)
    home = f"{s3.url}/runs/a-1"
    assert last_line(folder) == "SUCCEEDED: training.max_steps (40) reached"
    assert sha256_of(home) in said(folder)
    assert sha256_of(home) == undisturbed(tmp_path, "training.max_steps=40")
    open_folder(home).download("job.yaml", tmp_path / "job.yaml")
    job = dbp.Job.from_file(tmp_path / "job.yaml")
    assert job.data.train == f"{home}/inputs/data-train.csv"
    assert job.storage == f"{s3.url}/runs"
    assert b'"attempt": 1' in open_folder(home).read("submission.json")
    status = status_of(home)
    assert status is not None
    assert (status.state, status.attempt, status.workers) == ("SUCCEEDED", 1, 2)
    assert "SUCCEEDED: training.max_steps (40) reached" in log_of(home)
    assert left_over(head) == []
    again = stage_resume(tmp_path / "again", "a-1", f"{s3.url}/runs", overrides=["training.max_steps=60"])
    assert head.drive(again).wait(180) == 0, said(again)
    assert "going on at step 41" in said(again)
    assert sha256_of(home) == undisturbed(tmp_path, "training.max_steps=60")


def test_a_coordinator_that_was_killed_is_replaced_at_once(
    head: Cluster, s3: S3, tmp_path: Path, long_sha256: str
) -> None:
    """The supervisor claims the lease that the dead one left, by force: nobody waits until it runs out."""
    folder = stage(tmp_path / "staged", "a-1", f"{s3.url}/runs", "workers=2", *LONG_JOB)
    driver = head.drive(folder)
    home = f"{s3.url}/runs/a-1"
    os.kill(wait_for(home, trains).pid, signal.SIGKILL)
    assert driver.wait(240) == 0, said(folder)
    status = wait_for(home, lambda status: status.state == "SUCCEEDED")
    assert status.attempt == 2
    assert sha256_of(home) == long_sha256
    for text in (log_of(home), said(folder)):
        assert re.search(
            r"the coordinator died \(pid \d+ on .*: its process died\); a new one goes on from the newest", text
        )
    assert re.search(r"going on at step \d+", said(folder))
    assert left_over(head) == []


def test_a_stopped_job_goes_on_to_the_same_bits(head: Cluster, s3: S3, tmp_path: Path, long_sha256: str) -> None:
    """SIGTERM, as Ray sends it; the checkpoint is at the URI when the driver ends."""
    folder = stage(tmp_path / "staged", "a-1", f"{s3.url}/runs", "workers=2", *LONG_JOB)
    driver = head.drive(folder)
    home = f"{s3.url}/runs/a-1"
    wait_for(home, trains)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(120) == 0
    status = status_of(home)
    assert status is not None
    assert status.state == "STOPPED"
    assert last_line(folder) == f"STOPPED: stopped on request after step {status.step}"
    again = stage_resume(tmp_path / "again", "a-1", f"{s3.url}/runs")
    assert head.drive(again).wait(180) == 0, said(again)
    assert f"going on at step {status.step + 1}" in said(again)
    assert sha256_of(home) == long_sha256


def test_a_job_that_waits_says_so_at_the_uri_and_stops_at_once(head: Cluster, s3: S3, tmp_path: Path) -> None:
    folder = stage(tmp_path / "staged", "a-1", f"{s3.url}/runs", "workers=4", "training.max_steps=20")
    driver = head.drive(folder)
    home = f"{s3.url}/runs/a-1"
    status = wait_for(home, lambda status: "only" in status.message)
    assert status.state == "PENDING"
    assert status.message.startswith("waits for 4 CPUs; the cluster has only 2")
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(60) == 0
    assert last_line(folder) == "STOPPED: stopped on request while it waited"
    stopped = status_of(home)
    assert stopped is not None
    assert stopped.state == "STOPPED"
    assert left_over(head) == []


def test_a_job_that_runs_is_not_run_twice(head: Cluster, s3: S3, tmp_path: Path) -> None:
    folder = stage(tmp_path / "staged", "a-1", f"{s3.url}/runs", "workers=2", *LONG_JOB)
    driver = head.drive(folder)
    home = f"{s3.url}/runs/a-1"
    wait_for(home, trains)
    again = stage_resume(tmp_path / "again", "a-1", f"{s3.url}/runs")
    twice = stage(tmp_path / "twice", "a-1", f"{s3.url}/runs", "workers=2")
    drivers = [head.drive(again), head.drive(twice)]
    assert [each.wait(120) for each in drivers] == [2, 2]
    assert re.search(r"in use by pid \d+ on host", last_line(again))
    assert "the job directory exists already" in last_line(twice)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(120) == 0
    assert last_line(folder).startswith("STOPPED: stopped on request after step")


def test_storage_that_cannot_be_used_is_refused_before_anything_is_made(head: Cluster, s3: S3, tmp_path: Path) -> None:
    """Exit code 2, one line that says why, no job directory."""
    missing = stage(tmp_path / "a", "a-1", "s3://no-such-bucket/runs")
    readonly = stage(tmp_path / "b", "b-1", f"{s3.url}/readonly")
    private = stage(tmp_path / "c", "c-1", "memory://x/runs")
    no_table = stage(tmp_path / "d", "d-1", f"{s3.url}/runs", f"data.train={s3.url}/gone.csv", inputs=False)
    unknown = stage_resume(tmp_path / "e", "e-1", f"{s3.url}/runs")
    s3.failing.append(lambda method, path: 403 if method == "PUT" and "/readonly/" in path else None)
    expected = [
        (missing, r"no-such-bucket/runs.*: there is no bucket 'no-such-bucket'"),
        (readonly, rf"{s3.url}/readonly/.*: cannot be made: access denied"),
        (private, r"node [\d.]+: memory://x/runs is not there, or another folder \(storage\)"),
        (no_table, rf"{s3.url}/gone.csv: no such file"),
        (unknown, rf"{s3.url}/runs/e-1: holds no job.yaml; expected a job directory"),
    ]
    drivers = [head.drive(folder) for folder, _ in expected]
    assert [driver.wait(180) for driver in drivers] == [2] * len(expected)
    for folder, words in expected:
        line = last_line(folder)
        assert line.startswith("FAILED: refused: ")
        assert re.search(words, line), line
        assert "Traceback" not in said(folder)
    assert open_folder(s3.url).names() == []


def test_a_lost_node_is_replaced_by_one_that_has_none_of_its_files(s3: S3, tmp_path: Path, long_sha256: str) -> None:
    """The nodes share nothing but the store: the new coordinator brings what it needs from there."""
    with cluster(**SETTINGS, AWS_ENDPOINT_URL=s3.endpoint, DBP_WORK_DIR=str(tmp_path / "head")) as made:
        made.start_head(cpus=0)
        made.env["DBP_WORK_DIR"] = str(tmp_path / "first")
        first = made.add_node(cpus=2)
        made.wait_for_nodes(2)
        made.env["DBP_WORK_DIR"] = str(tmp_path / "head")
        folder = stage(tmp_path / "staged", "a-1", f"{s3.url}/runs", "workers=2", *LONG_JOB)
        driver = made.drive(folder)
        home = f"{s3.url}/runs/a-1"
        wait_for(home, trains)
        first.kill()
        made.env["DBP_WORK_DIR"] = str(tmp_path / "second")
        made.add_node(cpus=2)
        assert driver.wait(300) == 0, said(folder)
        assert re.search(r"the coordinator died \(.*\); a new one goes on", said(folder))
        assert list((tmp_path / "second").iterdir()) == []
    status = wait_for(home, lambda status: status.state == "SUCCEEDED")
    assert status.attempt == 2
    assert sha256_of(home) == long_sha256
