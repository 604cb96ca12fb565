"""A job with a range of workers, submitted as a user does, on a cluster whose nodes come and go.

Nodes are raylets of their own on this machine, ended by pid; Ray notices as it does on machines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray_nodes import Cluster, Node, cluster, environment, family
from small_jobs import small_job, write_table
from submitted_jobs import log_of, sha256_of, undisturbed, wait_for

from dbp.jobs.metrics import read_metrics
from dbp.jobs.status import Status

DBP = Path(sys.executable).with_name("dbp")
ENDLESS = ("training.max_steps=10000000", "checkpoint.every=500", "training.validate_every=100")
ROWS = 40_000  # eight shards
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@dataclass
class Service:
    """A head without CPUs, and what users do with it."""

    cluster: Cluster
    folder: Path

    @property
    def address(self) -> str:
        return f"http://{self.cluster.ip}:{self.cluster.dashboard}"

    @property
    def env(self) -> dict[str, str]:
        return environment(HOME=str(self.folder), COLUMNS="200", DBP_ADDRESS=self.address)

    def dbp(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [DBP, *arguments, "--insecure"]
        return subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=240)

    def watch_until(self, job: str, shown: str) -> None:
        """Watch a job until something is shown."""
        command = [DBP, "watch", job, "--insecure"]
        with subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            try:
                assert any(shown in line for line in watching.stdout)  # ends with the watching at the latest
            finally:
                watching.kill()

    def submit(self, name: str, *overrides: str) -> Path:
        """Submit a small job; return its directory."""
        path = self.folder / f"{name}.yaml"
        write_table(self.folder / "table.csv", ROWS)
        path.write_text(small_job(self.folder, *overrides).to_yaml())
        storage = self.folder / "runs"
        done = self.dbp("submit", str(path), "--id", name, "--storage", str(storage), "--queue")
        assert done.returncode == 0, done.stderr
        return storage / name


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    # `python` in the entry point is the one that Ray's nodes find first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with cluster(PATH=path) as made:
        made.start_head(cpus=0, dashboard=True)
        made.wait_for_nodes(1)
        built = Service(made, tmp_path)
        deadline = time.monotonic() + 120
        while (done := built.dbp("list", "--address", built.address)).returncode:
            assert time.monotonic() < deadline, done.stderr
        yield built


def has(workers: int, step: int = 0) -> Callable[[Status], bool]:
    return lambda status: status.state == "RUNNING" and status.workers == workers and status.step > step


def ended(status: Status) -> bool:
    return status.state not in ("PENDING", "RUNNING")


def coordinators_node(service: Service, home: Path) -> Node:
    """Its process descends from that node's."""
    pid = wait_for(home, lambda status: status.state == "RUNNING").pid
    return next(node for node in service.cluster.nodes if pid in family(node.process.pid))


def cancelled(service: Service, home: Path) -> Status:
    """Have a job end after the step under way, in its first attempt, with the parameters that nothing happened to."""
    assert service.dbp("cancel", home.name).returncode == 0
    done = wait_for(home, ended)
    assert (done.state, done.attempt) == ("STOPPED", 1)
    assert sha256_of(home) == undisturbed(service.folder, f"training.max_steps={done.step}", *ENDLESS[1:])
    return done


def workers_by_step(home: Path) -> list[int]:
    return [metrics["workers"] for metrics in read_metrics(home / "metrics.jsonl").steps]


def test_nodes_come_and_go(service: Service) -> None:
    """It begins with the room there is; a node that joins gives it more workers, one that is lost takes them away. Below its least
    number it waits, and says for what; a new node has it go on.
    """
    first = [service.cluster.add_node(cpus=1) for _ in range(2)]
    service.cluster.wait_for_nodes(3)
    home = service.submit("a-1", "workers={min: 2, max: 4}", *ENDLESS)
    wait_for(home, has(2), 200)
    joined = service.cluster.add_node(cpus=2)
    wait_for(home, has(4), 200)
    assert "4 (2 to 4)" in service.dbp("list").stdout
    assert "workers    4 (2 to 4)" in service.dbp("status", "a-1").stdout
    joined.kill()
    wait_for(home, has(2), 200)
    (other,) = (node for node in first if node is not coordinators_node(service, home))
    other.kill()
    waiting = wait_for(home, lambda status: status.message.startswith("waits for 2"), 200)
    assert (waiting.state, waiting.workers) == ("PENDING", 0)
    assert waiting.message.startswith("waits for 2 CPUs; the cluster has only 1: it goes on when nodes are added")
    assert "waits for 2 CPUs" in service.dbp("list").stdout
    service.cluster.add_node(cpus=1)
    wait_for(home, has(2, waiting.step), 200)
    service.watch_until("a-1", "2 workers up (2 to 4)")
    assert f"from step {waiting.step + 1} to" in log_of(home)  # nothing was computed twice
    assert service.dbp("cancel", "a-1").returncode == 0
    last = wait_for(home, ended).step + 500
    resumed = service.dbp("resume", "a-1", "--set", f"training.max_steps={last}")
    assert resumed.returncode == 0, resumed.stderr
    done = wait_for(home, lambda status: status.attempt == 3 and ended(status), 300)
    assert done.state == "SUCCEEDED"
    assert set(workers_by_step(home)) >= {2, 4}
    assert sha256_of(home) == undisturbed(service.folder, f"training.max_steps={last}", *ENDLESS[1:])
    verified = service.dbp("verify", str(home))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_it_goes_on_while_as_many_as_it_needs_are_left(service: Service) -> None:
    """A node with one of its places is lost, and there is no room to move it to: nothing pauses, and no attempt is
    spent. A new node takes the place.
    """
    first = [service.cluster.add_node(cpus=1) for _ in range(3)]
    service.cluster.wait_for_nodes(4)
    home = service.submit("a-1", "workers={min: 2, max: 3}", *ENDLESS)
    wait_for(home, has(3), 200)
    coordinators = coordinators_node(service, home)
    for node in first:  # one has a place, the other a worker that came where there was room
        if node is not coordinators:
            node.kill()
            reached = wait_for(home, has(2), 100).step
            wait_for(home, has(2, reached + 200), 100)
            service.cluster.add_node(cpus=1)
            wait_for(home, has(3), 100)
    cancelled(service, home)


def test_a_job_gives_way_to_one_that_waits_and_grows_again(service: Service) -> None:
    """Workers beyond the least number leave between two steps; the other job has its room without anybody's restart."""
    service.cluster.add_node(cpus=4)
    service.cluster.wait_for_nodes(2)
    home = service.submit("a-1", "workers={min: 1, max: 4}", *ENDLESS)
    wait_for(home, has(4), 200)
    other = service.submit("b-1", "workers=2", "training.max_steps=500")
    wait_for(home, has(2), 100)
    assert wait_for(other, ended, 200).state == "SUCCEEDED"
    wait_for(home, has(4), 100)
    assert "2 workers leave, for jobs that wait for room: b-1 (2)" in service.dbp("logs", "a-1").stdout
    cancelled(service, home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a folder from a node")
def test_a_node_where_no_worker_can_run_takes_no_part(service: Service) -> None:
    """It joins while the job trains, and does not see its table. It is named once, and left alone; a good one is used."""
    service.cluster.add_node(cpus=1)
    service.cluster.wait_for_nodes(2)
    home = service.submit("a-1", "workers={min: 1, max: 3}", *ENDLESS)
    wait_for(home, has(1), 200)
    hidden = f'mount -t tmpfs none {home.parent} && exec "$@"'
    blind = service.cluster.add_node(cpus=2, prefix=("unshare", "-m", "sh", "-c", hidden, "sh"))
    until(lambda: "was lost" in service.dbp("logs", "a-1").stdout)
    service.cluster.add_node(cpus=1)
    wait_for(home, has(2), 100)
    cancelled(service, home)
    (lost,) = (line for line in service.dbp("logs", "a-1").stdout.splitlines() if "was lost" in line)
    assert f"was lost (node {service.cluster.ip}: {home}/inputs/" in lost
    assert "cannot be read: no such file" in lost
    assert max(workers_by_step(home)) == 2
    assert blind.process.poll() is None


def until(condition: Callable[[], bool], seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)
