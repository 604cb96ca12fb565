"""Drivers as processes of their own on a real head with two CPUs: killed, stopped, waiting, refused."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import Cluster, cluster
from small_jobs import small_job, write_table
from submitted_jobs import log_of, sha256_of, stage, stage_resume, status_of, undisturbed, wait_for

import dbp
from dbp.jobs.status import Status

pytestmark = pytest.mark.long

LONG = "training.max_steps=6000"  # some seconds
LONG_JOB = (LONG, "checkpoint.every=50", "training.validate_every=100")


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    with cluster() as made:
        made.start_head(cpus=2)
        made.wait_for_nodes(1)
        yield made


@pytest.fixture(scope="module")
def long_sha256(tmp_path_factory: pytest.TempPathFactory) -> str:
    return undisturbed(tmp_path_factory.mktemp("undisturbed"), *LONG_JOB)


def trains(status: Status) -> bool:
    """Before, its process is the driver's."""
    return status.state == "RUNNING"


def last_line(folder: Path) -> str:
    return (folder / "driver.log").read_text().strip().splitlines()[-1]


def test_a_job_is_trained_to_the_bits_of_a_run_in_one_process(head: Cluster, tmp_path: Path) -> None:
    """Its table travelled, and is kept with it; the log has the plain lines of `dbp run` and ends with how it ended."""
    folder = stage(tmp_path / "staged", "a-1", tmp_path / "runs", "workers=2", "training.max_steps=40")
    assert head.drive(folder).wait(120) == 0
    home = tmp_path / "runs/a-1"
    said = (folder / "driver.log").read_text()
    assert "a-1: 28 rows + 12 held out, 2 features, 1 output, 97 parameters, 2 workers" in said
    assert re.search(r"^step 40/40  loss 0\.\d+  validation", said, re.MULTILINE)
    assert last_line(folder) == "SUCCEEDED: training.max_steps (40) reached"
    assert sha256_of(home) in said
    assert sha256_of(home) == undisturbed(tmp_path, "training.max_steps=40")
    job = dbp.Job.from_file(home / "job.yaml")
    assert job.data.train == str(home / "inputs/data-train.csv")
    assert job.storage == str(tmp_path / "runs")
    assert '"attempt": 1' in (home / "submission.json").read_text()
    status = status_of(home)
    assert status is not None
    assert (status.state, status.attempt) == ("SUCCEEDED", 1)
    assert status.workers in (1, 2)  # 28 rows are one shard: the job may be done before the second worker is there


def test_a_coordinator_that_was_killed_is_replaced(head: Cluster, tmp_path: Path, long_sha256: str) -> None:
    """SIGKILL in mid-job, twice: nobody does anything, and the bits are those of an undisturbed run."""
    folder = stage(tmp_path / "staged", "a-1", tmp_path / "runs", "workers=2", *LONG_JOB)
    driver = head.drive(folder)
    home = tmp_path / "runs/a-1"
    for attempt in (1, 2):
        status = wait_for(
            home,
            lambda status, number=attempt: status.attempt == number and trains(status) and status.step > 500 * number,
        )
        assert driver.poll() is None
        os.kill(status.pid, signal.SIGKILL)
    assert driver.wait(120) == 0, (folder / "driver.log").read_text()
    status = wait_for(home, lambda status: status.state == "SUCCEEDED")
    assert status.attempt == 3
    assert sha256_of(home) == long_sha256
    for text in (log_of(home), (folder / "driver.log").read_text()):
        assert re.search(
            r"the coordinator died \(pid \d+ on .*: its process died\); a new one goes on from the newest", text
        )
        assert "(restart 1 of 3)" in text
        assert "(restart 2 of 3)" in text


def test_too_many_deaths_end_the_job_and_it_can_be_resumed(head: Cluster, tmp_path: Path, long_sha256: str) -> None:
    folder = stage(tmp_path / "staged", "a-1", tmp_path / "runs", "workers=2", "service={restarts: 0}", *LONG_JOB)
    driver = head.drive(folder)
    home = tmp_path / "runs/a-1"
    os.kill(wait_for(home, lambda status: trains(status) and status.step > 100).pid, signal.SIGKILL)
    assert driver.wait(120) == 1
    status = status_of(home)
    assert status is not None
    assert (status.state, status.attempt) == ("FAILED", 1)
    assert status.message.startswith("the coordinator died once, and service.restarts is 0; the last time: pid ")
    assert status.message.endswith("what it had reached is kept; go on with `dbp resume a-1`")
    assert last_line(folder) == f"FAILED: {status.message}"
    again = stage_resume(tmp_path / "again", "a-1", tmp_path / "runs")
    assert head.drive(again).wait(120) == 0, (again / "driver.log").read_text()
    assert ", going on at step" in (again / "driver.log").read_text()
    assert sha256_of(home) == long_sha256


def test_five_jobs_of_two_workers_on_two_cpus_all_end(head: Cluster, tmp_path: Path) -> None:
    """Room is given whole or not at all: no two of them wait for each other's half."""
    drivers = [
        head.drive(
            stage(tmp_path / f"staged-{number}", f"a-{number}", tmp_path / "runs", "workers=2", "training.max_steps=20")
        )
        for number in range(5)
    ]
    assert [driver.wait(280) for driver in drivers] == [0] * 5
    waited = [log_of(tmp_path / f"runs/a-{number}") for number in range(5)]
    assert any("waits for 2 CPUs; the cluster has 2, 0 free" in text for text in waited)
    assert len({sha256_of(tmp_path / f"runs/a-{number}") for number in range(5)}) == 1


def test_a_job_that_can_never_fit_waits_and_says_so(head: Cluster, tmp_path: Path) -> None:
    """PENDING, with a heart that beats, until it is stopped: then it ends at once."""
    folder = stage(tmp_path / "staged", "a-1", tmp_path / "runs", "workers=4", "training.max_steps=20")
    driver = head.drive(folder)
    home = tmp_path / "runs/a-1"
    status = wait_for(home, lambda status: "only" in status.message)
    assert status.state == "PENDING"
    assert status.message == (
        "waits for 4 CPUs; the cluster has only 2: it begins when nodes are added, or when it is resumed with fewer workers "
        "(--set workers=2)"
    )
    beat = status.heartbeat
    wait_for(home, lambda status: status.heartbeat > beat)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(30) == 0
    status = wait_for(home, lambda status: status.state == "STOPPED")
    assert status.message == "stopped on request while it waited"
    assert last_line(folder) == "STOPPED: stopped on request while it waited"
    again = stage_resume(tmp_path / "again", "a-1", tmp_path / "runs", overrides=["workers=2"])
    assert head.drive(again).wait(120) == 0
    assert sha256_of(home) == undisturbed(tmp_path, "training.max_steps=20")


def test_a_stopped_job_leaves_a_checkpoint_and_goes_on_to_the_same_bits(
    head: Cluster, tmp_path: Path, long_sha256: str
) -> None:
    """SIGTERM, as Ray sends it."""
    folder = stage(tmp_path / "staged", "a-1", tmp_path / "runs", "workers=2", *LONG_JOB)
    driver = head.drive(folder)
    home = tmp_path / "runs/a-1"
    wait_for(home, lambda status: trains(status) and status.step > 200)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(60) == 0
    status = wait_for(home, lambda status: status.state == "STOPPED")
    assert (home / f"checkpoints/step-{status.step:08}.safetensors").exists()
    assert last_line(folder) == f"STOPPED: stopped on request after step {status.step}"
    again = stage_resume(tmp_path / "again", "a-1", tmp_path / "runs")
    assert head.drive(again).wait(120) == 0
    assert f"going on at step {status.step + 1}" in (again / "driver.log").read_text()
    assert sha256_of(home) == long_sha256


def test_a_second_signal_ends_a_job_at_once(head: Cluster, tmp_path: Path) -> None:
    """Also where the coordinator cannot answer any more."""
    folder = stage(tmp_path / "staged", "a-1", tmp_path / "runs", "workers=2", *LONG_JOB)
    driver = head.drive(folder)
    home = tmp_path / "runs/a-1"
    coordinator = wait_for(home, lambda status: trains(status) and status.step > 100).pid
    os.kill(coordinator, signal.SIGSTOP)
    for _ in range(2):
        driver.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    assert driver.wait(60) == 0
    status = wait_for(home, lambda status: status.state == "STOPPED")
    assert status.message == "stopped at once; go on from the newest checkpoint with `dbp resume a-1`"


def test_a_sweep_whose_coordinator_was_killed_ends_as_undisturbed(head: Cluster, tmp_path: Path) -> None:
    sweep = ("sweep={optimizer.learning_rate: [0.1, 0.2]}", "training.max_steps=3000", "training.restarts=2")
    folder = stage(tmp_path / "staged", "a-1", tmp_path / "runs", "workers=2", "checkpoint.every=50", *sweep)
    driver = head.drive(folder)
    home = tmp_path / "runs/a-1"
    status = wait_for(home, lambda status: status.runs is not None and status.runs.done >= 1 and status.step > 0)
    os.kill(status.pid, signal.SIGKILL)
    assert driver.wait(200) == 0, (folder / "driver.log").read_text()
    status = wait_for(home, lambda status: status.state == "SUCCEEDED")
    assert status.runs is not None
    assert (status.runs.done, status.runs.count, status.attempt) == (4, 4, 2)
    assert "run 4/4  step 3000/3000" in (folder / "driver.log").read_text()
    assert sha256_of(home) == undisturbed(tmp_path, "checkpoint.every=50", *sweep)


@pytest.mark.parametrize("workers", ["workers=0", "workers={threads: 2}"])
def test_a_job_without_workers_computes_in_its_coordinator(head: Cluster, tmp_path: Path, workers: str) -> None:
    """It has a CPU of its own for that, or as many as threads; a model to start from travels too."""
    first = dbp.train(small_job(tmp_path, "training.max_steps=5", "data.validation=null", storage="first"))
    model = first.directory / "model.safetensors"
    start = (f"network.start_from={model}", "training.max_steps=20", "data.validation=null")
    folder = stage(tmp_path / "staged", "a-1", tmp_path / "runs", workers, *start)
    assert head.drive(folder).wait(120) == 0, (folder / "driver.log").read_text()
    assert sha256_of(tmp_path / "runs/a-1") == undisturbed(tmp_path, *start)


def test_what_cannot_be_run_is_refused_before_anything_is_made(head: Cluster, tmp_path: Path) -> None:
    """Exit code 2, one line that says why, and no job directory."""
    storage = tmp_path / "runs"
    missing = stage(tmp_path / "a", "a-1", storage, inputs=False)
    (missing / "table.csv").unlink()
    wrong = stage(tmp_path / "b", "b-1", storage)
    (wrong / "job.yaml").write_text((wrong / "job.yaml").read_text().replace("target: y", "target: [y, z, z]"))
    unknown = stage_resume(tmp_path / "c", "c-1", storage)
    damaged = stage_resume(tmp_path / "d", "d-1", storage)
    (damaged / "submission.json").write_text("{")
    blocked = stage(tmp_path / "e", "e-1", tmp_path / "e/job.yaml")
    expected = [
        (missing, rf"  ?node [\d.]+: {missing}/table.csv: cannot be read: no such file or folder"),
        (wrong, r'data.target: column "z" is named twice'),
        (unknown, rf"{storage}/c-1: no such folder; expected a job directory"),
        (damaged, r"submission.json: not a submission of dbp, or damaged: JSON: "),
        (blocked, r"e/job.yaml: cannot take a job directory: "),
    ]
    drivers = [head.drive(folder) for folder, _ in expected]
    assert [driver.wait(120) for driver in drivers] == [2] * len(expected)
    for folder, words in expected:
        line = last_line(folder)
        assert line.startswith("FAILED: refused: ")
        assert re.search(words, line), line
        assert "Traceback" not in (folder / "driver.log").read_text()
    assert not storage.exists() or not [path for path in storage.iterdir() if path.is_dir()]


def test_rows_that_cannot_be_used_are_found_by_the_coordinator_and_refused(head: Cluster, tmp_path: Path) -> None:
    """Nothing is retried, and the status says what is wrong."""
    folder = stage(tmp_path / "staged", "a-1", tmp_path / "runs", "workers=2")
    table = folder / "inputs/table.csv"
    rows = table.read_text().splitlines()
    rows[20] = re.sub("^[^,]+", "nonsense", rows[20])
    table.write_text("\n".join(rows) + "\n")
    assert head.drive(folder).wait(120) == 2
    status = status_of(tmp_path / "runs/a-1")
    assert status is not None
    assert status.state == "FAILED"
    assert "nonsense" in status.message
    assert "restart" not in log_of(tmp_path / "runs/a-1")


def test_storage_that_is_full_in_mid_job_is_a_failure_and_no_refusal(head: Cluster, tmp_path: Path) -> None:
    """Folders where checkpoints should be: the first is a warning, the last is not given up: exit code 1."""
    folder = stage(tmp_path / "staged", "a-1", tmp_path / "runs", "workers=2", "checkpoint.every=3000", *LONG_JOB[::2])
    driver = head.drive(folder)
    home = tmp_path / "runs/a-1"
    wait_for(home, lambda status: trains(status) and status.step > 100)
    for step in (3000, 6000):
        (home / f"checkpoints/step-0000{step}.safetensors").mkdir(parents=True)
    assert driver.wait(120) == 1, (folder / "driver.log").read_text()
    status = status_of(home)
    assert status is not None
    assert status.state == "FAILED"
    assert "step-00006000.safetensors: cannot be written" in status.message
    assert "step-00003000.safetensors: cannot be written" in (folder / "driver.log").read_text()
    assert last_line(folder) == f"FAILED: {status.message}"


def test_a_job_that_runs_is_not_run_twice(head: Cluster, tmp_path: Path) -> None:
    folder = stage(tmp_path / "staged", "a-1", tmp_path / "runs", "workers=2", *LONG_JOB)
    driver = head.drive(folder)
    home = tmp_path / "runs/a-1"
    wait_for(home, lambda status: trains(status) and status.step > 100)
    again = stage_resume(tmp_path / "again", "a-1", tmp_path / "runs")
    twice = stage(tmp_path / "twice", "a-1", tmp_path / "runs", "workers=2")
    drivers = [head.drive(again), head.drive(twice)]
    assert [each.wait(60) for each in drivers] == [2, 2]
    assert re.search(r"in use by pid \d+ on host", last_line(again))
    assert "the job directory exists already" in last_line(twice)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(60) == 0


def test_a_table_of_the_cluster_is_read_where_it_is(head: Cluster, tmp_path: Path) -> None:
    """A path that all nodes see does not travel."""
    table = write_table(tmp_path / "elsewhere.csv")
    folder = stage(
        tmp_path / "staged", "a-1", tmp_path / "runs", f"data.train={table}", "training.max_steps=5", inputs=False
    )
    assert head.drive(folder).wait(120) == 0
    assert not (tmp_path / "runs/a-1/inputs").exists()
    assert dbp.Job.from_file(tmp_path / "runs/a-1/job.yaml").data.train == str(table)
