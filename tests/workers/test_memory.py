"""Memory: the bound against real workers, what is refused and warned of, workers killed for want of it, tables larger than it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from control_group import limit, small_group
from sources import RandomRows, workload

import dbp
from dbp.errors import JobFileError, WorkersLostError
from dbp.sums.batches import BatchSampler
from dbp.sums.memory import WorkerMemory
from dbp.sums.messages import SumTask
from dbp.sums.pool import TransportPool
from dbp.training.observers import Observer
from dbp.training.stopping import StopRequest
from dbp.workers.machine_memory import MachineMemory, machine_memory
from dbp.workers.memory_check import Machine, check_memory, need_of
from dbp.workers.preparation import open_dataset, raw_workload
from dbp.workers.ray_pool import RayTransport
from dbp.workers.run import Run, Setting

__all__ = ["small_group"]  # a fixture

MEBIBYTE = 1 << 20


def job_of(table: Path, *overrides: str) -> dbp.Job:
    text = f"""\
name: wide
data: {{train: {json.dumps(str(table))}, target: y}}
task: regression
network: {{hidden: [16]}}
optimizer: {{name: gradient_descent, learning_rate: 0.1}}
training: {{max_steps: 3}}
workers: 1
storage: {json.dumps(str(table.parent / "runs"))}
"""
    return dbp.Job.from_text(text, overrides=overrides)


def write(path: Path, rows: int, columns: int, group: int = 16_384) -> Path:
    """Write a Parquet table of normal numbers, the same in each row group."""
    names, draw = [*(f"x{number}" for number in range(columns)), "y"], np.random.default_rng(0)
    table = pa.table({name: draw.standard_normal(group, dtype=np.float32) for name in names})
    with pq.ParquetWriter(path, table.schema, use_dictionary=False, compression="none") as writer:
        for start in range(0, rows, group):
            writer.write_table(table.slice(0, min(group, rows - start)))
    return path


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A table of 200 MiB in float32."""
    return write(tmp_path_factory.mktemp("memory") / "wide.parquet", 512_000, 101)


def peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


@pytest.mark.usefixtures("local_ray")
def test_a_real_worker_stays_below_the_bound_which_is_at_most_twice_what_it_takes(wide):
    job = job_of(wide, "training.batch=5000")
    run = Run(job, Setting(Observer(), 1, None, StopRequest()), open_dataset(job), None)
    need, transport = need_of(job, run.dataset, run.raw, 1), RayTransport()
    pool = TransportPool(transport, 1, run.raw)
    try:
        prepared = run.prepared(run.fit(pool))
        run.load(pool, prepared)
        sampler = BatchSampler(run.raw.shards["train"], 5000, 0)
        theta = prepared.network.initial_parameters(0)
        for step in (1, 2):
            pool.sum(SumTask("gradient", "train", step, sampler.batch(step)), theta)
        (pid,) = transport.pids().values()
        assert peak(pid) <= need.most <= 2 * peak(pid)
        assert need.rows >= 195 * MEBIBYTE
        assert need.least <= peak(pid)
    finally:
        pool.close()


def test_threads_need_the_memory_of_as_many_workers_and_one_process(wide):
    job = job_of(wide)
    run = Run(job, Setting(Observer(), 0, None, StopRequest()), open_dataset(job), None)
    alone, five, many = (need_of(job, run.dataset, run.raw, 0, threads) for threads in (1, 5, 1000))
    assert five == WorkerMemory(alone.rows, 5 * alone.reading, 5 * alone.vectors)
    assert many == need_of(job, run.dataset, run.raw, 0, run.raw.shards["train"].count)  # others have nothing to do


NEED = WorkerMemory(rows=10 << 30, reading=1 << 30, vectors=0)


def test_what_cannot_fit_is_refused_with_what_to_change(wide):
    with pytest.raises(JobFileError) as caught:
        check_memory(job_of(wide), NEED, [Machine("this machine", 2, MachineMemory(16 << 30, 15 << 30))])
    assert str(caught.value).splitlines()[1] == (
        "  workers: 2 workers need at least 20.1 GiB of memory, 10.0 GiB each for rows, and this machine has 16.0 GiB; change "
        "one of: data.cache: disk, data.compact where columns are narrow, precision float32, fewer columns (data.features), "
        "fewer workers on a machine, or more machines"
    )


def test_what_may_not_fit_is_warned_of_and_what_is_unknown_is_let_be(wide):
    tight, roomy = MachineMemory(24 << 30, 13 << 30), MachineMemory(64 << 30, 60 << 30)
    machines = [Machine("node a", 1, tight), Machine("node b", 2, roomy), Machine("node c", 9, MachineMemory(0, 0))]
    (warning,) = check_memory(job_of(wide), NEED, machines)
    assert warning.startswith(
        "1 worker may take up to 11.2 GiB of memory, and node a has 13.0 GiB available; should a worker be killed"
    )
    (reserved,) = check_memory(job_of(wide, "service.memory_per_worker=1000000000"), NEED, [])
    assert (
        reserved == "service.memory_per_worker reserves 954 MiB, and a worker may take up to 11.2 GiB; expected as much"
    )


def test_rows_on_disk_count_as_none_in_memory_but_for_the_order_of_batches(wide):
    def rows(*overrides: str) -> int:
        job = job_of(wide, *overrides)
        dataset = open_dataset(job)
        return need_of(job, dataset, raw_workload(job, dataset), 2).rows

    assert rows() == 256_000 * 102 * 4
    assert rows("data.cache=disk") == 0
    assert rows("data.cache=disk", "training.batch=100") == 256_000 * 8
    assert rows("training.precision=float64") == 256_000 * 102 * 8


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_control_groups_count_the_smallest_on_the_way_up(tmp_path, version):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8000 kB\nMemFree: 1000 kB\nMemAvailable: 6000 kB\n")
    assert machine_memory(tmp_path) == MachineMemory(8000 << 10, 6000 << 10)
    line, mount, names = (
        ("4:cpu,memory:/pod/box", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))
        if version == 1
        else ("0::/pod/box", "", ("memory.max", "memory.current", "inactive_file"))
    )
    (tmp_path / "proc/self/cgroup").write_text(line + "\n")
    for path, most, used in (("pod", "4096000", "3000000"), ("pod/box", "max", "5000")):
        folder = tmp_path / "sys/fs/cgroup" / mount / path
        folder.mkdir(parents=True)
        (folder / names[0]).write_text(most + "\n")
        (folder / names[1]).write_text(used + "\n")
        (folder / "memory.stat").write_text(f"other 7\n{names[2]} 1000000\n")
    assert machine_memory(tmp_path) == MachineMemory(4_096_000, 2_096_000)
    assert machine_memory(tmp_path / "nowhere") == MachineMemory(0, 0)


@dataclass(frozen=True)
class GreedyRows(RandomRows):
    """Rows whose reader joins a control group and takes more memory than that allows; or with none, more than there is."""

    group: Path | None = None

    def encode(self, part, start, stop, encoding, dtype):
        if self.group is None:
            np.empty(1 << 50, np.uint8)
        else:
            (self.group / "cgroup.procs").write_text(str(os.getpid()))
            np.ones(1 << 28)
        return super().encode(part, start, stop, encoding, dtype)


@pytest.mark.usefixtures("local_ray")
def test_workers_killed_by_the_out_of_memory_killer_end_the_job_with_that_diagnosis(small_group):
    limit(small_group, 300 * MEBIBYTE)
    told: list[str] = []
    pool = TransportPool(RayTransport(), 1, workload(source=GreedyRows(6, 3, 200, group=small_group)), told.append)
    pool._assignment._patience = 1
    try:
        with pytest.raises(WorkersLostError, match=r"2 workers died in a row.*want of memory.*data.cache: disk"):
            pool.sum(SumTask("load", "train"))
    finally:
        pool.close()
    assert len(told) == 2
    assert all("killed, probably for want of memory: the out-of-memory killer" in line for line in told)


WATCHED = """\
from sources import RandomRows, workload
from dbp.sums.messages import SumTask
from dbp.sums.pool import TransportPool
from dbp.workers.local_ray import embedded_ray
from dbp.workers.ray_pool import RayTransport
from slow_rows import SlowRows

with embedded_ray(1, 1 << 20):
    pool = TransportPool(RayTransport(), 1, workload(source=SlowRows(6, 3, 200)))
    pool._assignment._patience = 1
    pool.sum(SumTask("load", "train"))
"""


@pytest.mark.long
def test_workers_that_rays_monitor_ends_for_memory_end_the_job_with_that_diagnosis(tmp_path):
    (tmp_path / "slow_rows.py").write_text(
        "import time\nfrom sources import RandomRows\n\n\nclass SlowRows(RandomRows):\n"
        "    def encode(self, *arguments):\n        time.sleep(60)\n        return super().encode(*arguments)\n"
    )
    places = os.pathsep.join([str(Path(__file__).parents[1]), str(tmp_path)])
    surroundings = {**os.environ, "RAY_memory_usage_threshold": "0.01", "PYTHONPATH": places}
    done = subprocess.run([sys.executable, "-c", WATCHED], env=surroundings, capture_output=True, text=True)
    assert "WorkersLostError: 2 workers died in a row" in done.stderr
    assert "Ray's memory monitor found its node nearly full" in done.stderr
    assert "data.cache: disk" in done.stderr


@pytest.mark.usefixtures("local_ray")
def test_a_worker_that_gets_no_memory_says_what_to_change():
    pool = TransportPool(RayTransport(), 1, workload(source=GreedyRows(6, 3, 200)))
    try:
        with pytest.raises(
            dbp.DbpError, match=r"not enough memory for its 8 shards \(Unable to allocate.*data.cache: disk"
        ):
            pool.sum(SumTask("load", "train"))
    finally:
        pool.close()


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("extra", [(), ("training.batch=300", "data.weight=x0", "data.validation=0.2")])
def test_rows_on_disk_give_the_same_bits_for_any_number_of_workers(tmp_path, extra):
    draw = np.random.default_rng(1)
    columns = {f"x{number}": draw.random(3000) for number in range(4)}
    pq.write_table(pa.table({**columns, "y": draw.random(3000)}), tmp_path / "table.parquet")
    found = {
        dbp.train(
            job_of(tmp_path / "table.parquet", f"data.cache={cache}", *extra), workers=workers
        ).summary.parameters_sha256
        for cache, workers in (("memory", 0), ("disk", 0), ("disk", 1), ("disk", 2))
    }
    assert len(found) == 1


TRAIN = """\
import os, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
import dbp
print(dbp.train(dbp.Job.from_text(sys.argv[2])).summary.parameters_sha256)
"""


def test_a_table_of_several_times_the_memory_limit_trains_from_disk_and_not_in_memory(tmp_path, small_group):
    table = write(tmp_path / "large.parquet", 2_000_000, 99)  # 763 MiB encoded
    limit(small_group, 256 * MEBIBYTE)

    def train(cache: str) -> subprocess.CompletedProcess[str]:
        job = job_of(table, "workers=0", "training.max_steps=1", f"data.cache={cache}").to_yaml()
        return subprocess.run([sys.executable, "-c", TRAIN, str(small_group), job], capture_output=True, text=True)

    done = train("disk")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) == 64
    assert "needs at least" in train("memory").stderr
