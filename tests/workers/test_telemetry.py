"""What operators see of a run: Ray's own Prometheus endpoint is read while and after real training."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import ray
import submitted_jobs
from small_jobs import small_job

import dbp
from dbp.training.observers import Observer, Observers, StepMetrics
from dbp.training.stopping import StopRequest
from dbp.workers.coordinator_actor import Ended, Order
from dbp.workers.home import Home, new_home
from dbp.workers.run_records import write_job
from dbp.workers.supervisor import Supervisor
from dbp.workers.telemetry import COUNTERS, GAUGES, LABEL, Telemetry, telemetry

pytestmark = pytest.mark.usefixtures("local_ray")


def scraped(job: str) -> dict[str, float]:
    """The metrics of a job, as Prometheus would read them from this node."""
    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    found = {}
    for line in lines:
        match = re.fullmatch(rf'ray_(dbp_\w+){{.*\b{LABEL}="{job}".*}} (\S+)', line)
        if match:
            found[match[1]] = float(match[2])
    return found


def wait_for(job: str, **expected: float) -> dict[str, float]:
    """Ray passes metrics on every few seconds: read until they are what is expected."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        found = scraped(job)
        if expected.items() <= found.items():
            return found
        time.sleep(1)
    raise AssertionError(f"expected {expected}, found {found}")


class KillsTheWorker(Observer):
    """SIGKILLs this test's own worker after a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, metrics):
        if metrics.step == self.at:
            (worker,) = own_workers()
            os.kill(worker, signal.SIGKILL)


def own_workers() -> list[int]:
    """The process ids of the workers of this process' Ray; other Rays of the machine have other grandparents."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            is_worker = (folder / "cmdline").read_bytes().startswith(b"ray::GradientWorker")
            if is_worker and parent(parent(int(folder.name))) == os.getpid():
                found.append(int(folder.name))
    return found


def parent(pid: int) -> int:
    return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def test_a_training_run_shows_in_rays_prometheus_endpoint(tmp_path):
    """All metrics there are, with the numbers of the run; a worker killed on the way is counted."""
    job = small_job(tmp_path, "training.max_steps=40")
    observer = Observers(telemetry("watched"), KillsTheWorker(at=5))
    result = dbp.train(job, workers=1, observer=observer)
    assert result.summary.parameters_sha256 == dbp.train(job, workers=0).summary.parameters_sha256
    found = wait_for("watched", dbp_steps_total=40, dbp_worker_losses_total=1, dbp_workers=0)
    assert found.keys() == GAUGES.keys() | COUNTERS.keys()
    assert found["dbp_step"] == 40
    assert found["dbp_loss"] == pytest.approx(result.history[-1].loss)
    validated = [step.validation_loss for step in result.history if step.validation_loss is not None]
    assert found["dbp_validation_loss"] == pytest.approx(validated[-1])
    assert found["dbp_checkpoints_total"] == 6  # every 7 steps, and the last
    assert 0 < found["dbp_checkpoint_seconds"] <= found["dbp_checkpoint_seconds_total"]
    assert found["dbp_rows_per_second"] > 0
    assert found["dbp_step_seconds"] > 0


def test_a_job_of_the_service_shows_its_operators_the_workers_that_it_lost(tmp_path):
    """Its coordinator is another process than its driver, and tells Ray itself."""
    storage = tmp_path / "runs"
    with new_home(str(storage), "served") as directory:
        write_job(directory, small_job(tmp_path, "training.max_steps=10000000", "workers=1", "checkpoint.every=1000"))
    supervisor = Supervisor(
        home=Home(str(storage), "served"),
        job=dbp.Job.from_file(directory.job_file),
        order=lambda room: Order(str(storage), "served", (), room),
        restarts=0,
        stop=StopRequest(),
        say=lambda text: None,
    )
    ended: list[Ended] = []
    running = threading.Thread(target=lambda: ended.append(supervisor.run()))
    running.start()
    try:
        submitted_jobs.wait_for(directory.path, lambda status: status.state == "RUNNING" and status.step > 10)
        (worker,) = own_workers()
        os.kill(worker, signal.SIGKILL)
        wait_for("served", dbp_worker_losses_total=1)
        assert {"dbp_step", "dbp_loss", "dbp_workers"} <= scraped("served").keys()
    finally:
        supervisor.stop.set()
        running.join()
    assert [each.state for each in ended] == ["STOPPED"]


@pytest.mark.long
def test_steps_that_are_shorter_than_a_report_are_reported_together():
    """A clock that stands still after the first step: one report, and the rest when the clock goes on."""
    now = [0.0]
    observer = Telemetry("short-steps", clock=lambda: now[0])

    def step(number: int) -> None:
        observer.step(StepMetrics(number, 1 / number, 1.0, 0.5, 100, 2, 1.0))

    for number in range(1, 51):
        step(number)
    wait_for("short-steps", dbp_step=1, dbp_steps_total=1, dbp_loss=1.0)
    now[0] = 1.0
    step(51)
    wait_for("short-steps", dbp_step=51, dbp_steps_total=51, dbp_rows_per_second=200, dbp_step_seconds=0.5)
