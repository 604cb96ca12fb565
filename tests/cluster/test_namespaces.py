"""Several machines, as network namespaces on this one: nodes killed, links cut, storage that one of them does not see.

The head has no CPUs, as in a cluster that keeps it for itself: only the driver runs there. All machines share this one's file
system, so a folder stands for NFS.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from netns import Machine, machines, why_not
from ray_nodes import Cluster, Node, cluster, family
from small_jobs import write_table
from submitted_jobs import log_of, sha256_of, stage, status_of, undisturbed, wait_for

from dbp.jobs.status import Status

_WHY_NOT = why_not()
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(_WHY_NOT is not None, reason=str(_WHY_NOT)),
    pytest.mark.timeout(600),
]

# Half a minute of steps on two workers in different machines.
LONG_JOB = ("training.max_steps=8000", "checkpoint.every=50", "training.validate_every=100")


@dataclass
class Lab:
    """A head without CPUs, and two machines of two CPUs each."""

    cluster: Cluster
    machines: list[Machine]
    nodes: dict[str, Node]  # by address

    def add(self, machine: Machine, cpus: int, prefix: tuple[str, ...] = ()) -> Node:
        node = self.cluster.add_node(cpus, machine.ip, (*machine.prefix, *prefix))
        self.nodes[machine.ip] = node
        return node

    def machine(self, ip: str) -> Machine:
        return next(machine for machine in self.machines if machine.ip == ip)

    def others(self, ip: str) -> list[str]:
        return [each for each in self.nodes if each != ip]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with machines(3) as made, cluster() as ray_cluster:
        ray_cluster.ip = made[0].ip
        ray_cluster.start_head(cpus=0, prefix=made[0].prefix)
        ray_cluster.wait_for_nodes(1)
        built = Lab(ray_cluster, made, {})
        for machine in made[1:]:
            built.add(machine, cpus=2)
        ray_cluster.wait_for_nodes(3)
        yield built


@pytest.fixture(scope="module")
def long_sha256(tmp_path_factory: pytest.TempPathFactory) -> str:
    return undisturbed(tmp_path_factory.mktemp("undisturbed"), *LONG_JOB)


def trains(step: int) -> Callable[[Status], bool]:
    return lambda status: status.state == "RUNNING" and status.step > step


def has(workers: int) -> Callable[[Status], bool]:
    return lambda status: status.state == "RUNNING" and status.workers == workers


@dataclass
class Job:
    """A job in mid-training: by default one of two workers."""

    lab: Lab
    folder: Path
    home: Path
    staged: bool = False
    begun: Callable[[Status], bool] | None = None

    def __post_init__(self) -> None:
        if not self.staged:
            stage(self.folder, "a-1", self.home.parent, "workers=2", *LONG_JOB)
        self.driver = self.lab.cluster.drive(self.folder)
        self.pid = wait_for(self.home, self.begun or trains(500), 240).pid

    @property
    def coordinator(self) -> str:
        """The address of its machine: its process descends from that machine's node."""
        return next(ip for ip, node in self.lab.nodes.items() if self.pid in family(node.process.pid))

    def end(self) -> str:
        """Wait for its end; return what the driver said."""
        code = self.driver.wait(400)
        said = (self.folder / "driver.log").read_text()
        assert code == 0, said
        return said


def test_a_worker_node_is_killed(lab: Lab, tmp_path: Path, long_sha256: str) -> None:
    """The job is spread over both machines; the worker that was lost with its machine is started anew on the other."""
    job = Job(lab, tmp_path / "staged", tmp_path / "runs/a-1")
    (other,) = lab.others(job.coordinator)
    tables = lab.cluster.ask(
        "from ray.util.state import list_placement_groups\n"
        "table = next(iter(ray.util.placement_group_table().values()))\n"
        "nodes = {n['NodeID']: n['NodeManagerAddress'] for n in ray.nodes()}\n"
        "print(json.dumps([nodes[n] for n in table['bundles_to_node_id'].values()]))"
    )
    assert sorted(tables) == sorted(lab.nodes)
    lab.nodes[other].kill()
    said = job.end()
    assert "was lost" in said
    status = status_of(job.home)
    assert status is not None
    assert (status.state, status.attempt, status.workers) == ("SUCCEEDED", 1, 2)
    assert sha256_of(job.home) == long_sha256


def test_a_worker_node_is_frozen(lab: Lab, tmp_path: Path, long_sha256: str) -> None:
    """All its processes are stopped, and stay so: nobody waits until Ray has noticed."""
    job = Job(lab, tmp_path / "staged", tmp_path / "runs/a-1")
    (other,) = lab.others(job.coordinator)
    frozen = family(lab.nodes[other].process.pid)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    said = job.end()
    assert re.search(r"worker \d+ (is late|was lost)", said)
    assert sha256_of(job.home) == long_sha256
    lab.nodes[other].kill()


def test_a_link_is_cut_for_twenty_seconds(lab: Lab, tmp_path: Path, long_sha256: str) -> None:
    """The worker behind it is late, and given up later; others do its work. What comes back afterwards does no harm."""
    job = Job(lab, tmp_path / "staged", tmp_path / "runs/a-1")
    (other,) = lab.others(job.coordinator)
    lab.machine(other).link("down")
    time.sleep(20)
    lab.machine(other).link("up")
    said = job.end()
    assert re.search(r"worker \d+ (is late|was lost)", said)
    assert sha256_of(job.home) == long_sha256


def test_the_coordinators_node_is_killed(lab: Lab, tmp_path: Path, long_sha256: str) -> None:
    """Another coordinator begins on the other machine, and goes on from the newest checkpoint."""
    job = Job(lab, tmp_path / "staged", tmp_path / "runs/a-1")
    lab.nodes[job.coordinator].kill()
    said = job.end()
    assert "a new one goes on from the newest checkpoint (restart 1 of 3)" in said
    assert "going on at step" in said
    status = status_of(job.home)
    assert status is not None
    assert (status.state, status.attempt, status.workers) == ("SUCCEEDED", 2, 2)
    assert "restart 1 of 3" in log_of(job.home)
    assert sha256_of(job.home) == long_sha256


def test_the_coordinators_link_is_cut_for_twenty_seconds(lab: Lab, tmp_path: Path, long_sha256: str) -> None:
    """The old coordinator does not know that it was replaced: one of them writes, never both."""
    job = Job(lab, tmp_path / "staged", tmp_path / "runs/a-1")
    machine = lab.machine(job.coordinator)
    machine.link("down")
    time.sleep(20)
    machine.link("up")
    said = job.end()
    assert "the coordinator died" in said
    assert sha256_of(job.home) == long_sha256


def test_without_room_for_another_the_worker_that_is_left_goes_on(lab: Lab, tmp_path: Path, long_sha256: str) -> None:
    """Both other CPUs of the coordinator's machine are taken."""
    job = Job(lab, tmp_path / "staged", tmp_path / "runs/a-1")
    taken = stage(tmp_path / "taken", "b-1", tmp_path / "runs", "workers=2", "training.max_steps=100000000")
    other_driver = lab.cluster.drive(taken)
    wait_for(tmp_path / "runs/b-1", trains(0), 240)
    (other,) = lab.others(job.coordinator)
    lab.nodes[other].kill()
    said = job.end()
    assert "there is no room for it); the other workers compute its shards" in said
    status = status_of(job.home)
    assert status is not None
    assert (status.state, status.attempt, status.workers) == ("SUCCEEDED", 1, 1)
    assert sha256_of(job.home) == long_sha256
    assert other_driver.poll() is None


def test_a_link_is_cut_and_a_job_with_a_range_goes_on_with_the_rest(lab: Lab, tmp_path: Path) -> None:
    """Its workers behind the link are given up; those beside the coordinator are as many as it needs. A node that Ray gave up ends
    itself when its link is mended; a new one on that machine gives the job its workers back.
    """
    endless = ("training.max_steps=10000000", *LONG_JOB[1:])
    staged, home = tmp_path / "staged", tmp_path / "runs/a-1"
    staged.mkdir()
    write_table(staged / "table.csv", 40_000)  # eight shards
    stage(staged, "a-1", home.parent, "workers={min: 2, max: 4}", *endless)
    job = Job(lab, staged, home, staged=True, begun=has(4))
    (other,) = lab.others(job.coordinator)
    lab.machine(other).link("down")
    reached = wait_for(home, has(2), 200).step
    wait_for(home, lambda status: status.step > reached + 100, 200)
    lab.machine(other).link("up")
    lab.nodes[other].process.wait(120)
    lab.add(lab.machine(other), cpus=2)
    wait_for(home, has(4), 200)
    job.driver.send_signal(signal.SIGTERM)
    job.end()
    status = status_of(home)
    assert status is not None
    assert (status.state, status.attempt) == ("STOPPED", 1)
    undisturbed_folder = tmp_path / "undisturbed"
    undisturbed_folder.mkdir()
    write_table(undisturbed_folder / "table.csv", 40_000)
    assert sha256_of(home) == undisturbed(undisturbed_folder, f"training.max_steps={status.step}", *LONG_JOB[1:])


def hide(storage: Path) -> tuple[str, ...]:
    """What a command begins with that sees another folder there."""
    return ("unshare", "-m", "sh", "-c", f'mount -t tmpfs none {storage} && exec "$@"', "sh")


def test_storage_that_one_machine_does_not_see_is_refused(lab: Lab, tmp_path: Path) -> None:
    """Nothing is made, and the machine is named; also where it joins while a job waits for it."""
    storage, hidden = tmp_path / "runs", lab.machines[2]
    storage.mkdir()
    lab.nodes[hidden.ip].kill()
    lab.cluster.wait_for_nodes(2)
    waiting = stage(tmp_path / "waiting", "b-1", storage, "workers=3")
    driver = lab.cluster.drive(waiting)
    wait_for(storage / "b-1", lambda status: "the cluster has only 2" in status.message)

    lab.add(hidden, 2, hide(storage))
    lab.cluster.wait_for_nodes(3)
    assert driver.wait(200) == 2
    sentence = f"node {hidden.ip}: {storage} is not there, or another folder (storage)"
    assert sentence in (waiting / "driver.log").read_text()
    status = status_of(storage / "b-1")
    assert status is not None
    assert (status.state, status.attempt) == ("FAILED", 1)
    assert sentence in status.message

    folder = stage(tmp_path / "staged", "a-1", storage, "workers=2")
    assert lab.cluster.drive(folder).wait(200) == 2
    said = (folder / "driver.log").read_text()
    assert sentence in said
    assert f"node {lab.machines[1].ip}" not in said
    assert not (storage / "a-1").exists()
