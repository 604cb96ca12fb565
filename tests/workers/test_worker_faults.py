"""Workers that crash, that hold their interpreter, and a Ray that loses, delays or has no room for messages: the same bits.

Ray's own faults are switched on by its environment variables, so each of those runs is a process with a Ray of its own.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sources import CrashingRows, FrozenRows, workload

from dbp.sums.messages import SumTask
from dbp.sums.pool import TransportPool, serial_pool
from dbp.workers.ray_pool import RayTransport, ray_pool

GRADIENT = SumTask("gradient", "train")


def expected(load) -> bytes:
    return serial_pool(load).sum(GRADIENT, load.training.network.initial_parameters(0)).gradient.tobytes()


@pytest.mark.usefixtures("local_ray")
def test_a_worker_that_crashes_is_replaced(tmp_path: Path) -> None:
    """SIGSEGV, by reading at address 0."""
    told: list[str] = []
    source = CrashingRows(6, 3, 400, poisoned=250, marker=tmp_path / "died")
    load = workload(rows=400, shards=8, source=source)
    pool = ray_pool(load, 2, on_trouble=told.append)
    try:
        total = pool.sum(GRADIENT, load.training.network.initial_parameters(0))
    finally:
        pool.close()
    assert total.gradient.tobytes() == expected(workload(rows=400, shards=8))
    (sentence,) = told
    assert "was lost (its process died" in sentence


@pytest.mark.usefixtures("local_ray")
def test_a_worker_whose_interpreter_is_held_is_replaced(tmp_path: Path) -> None:
    """C code that never gives the interpreter back stops the thread of its heart, too."""
    told: list[str] = []
    source = FrozenRows(6, 3, 400, poisoned=250, marker=tmp_path / "frozen")
    load = workload(rows=400, shards=8, source=source)
    pool = TransportPool(RayTransport(frozen_s=5.0), 2, load, told.append)
    try:
        total = pool.sum(GRADIENT, load.training.network.initial_parameters(0))
        frozen = int((tmp_path / "frozen").read_text())
        with pytest.raises(ProcessLookupError):
            os.kill(frozen, 0)
    finally:
        pool.close()
    assert total.gradient.tobytes() == expected(workload(rows=400, shards=8))
    assert any("was lost (no sign of life for" in line and str(frozen) in line for line in told)


RUN = """
import hashlib, sys
import numpy as np
import ray
from sources import workload
from dbp.sums.messages import SumTask
from dbp.workers import ray_pool
from dbp.workers.local_ray import embedded_ray

calls, steps, sizes, before = sys.argv[1], int(sys.argv[2]), tuple(map(int, sys.argv[3].split(","))), sys.argv[4]
load, told = workload(rows=400, shards=8, sizes=sizes), []
with embedded_ray(2):
    exec(before)
    pool = ray_pool.ray_pool(load, 2, calls, told.append)
    theta = load.training.network.initial_parameters(0, load.training.precision)
    for step in range(1, steps + 1):
        total = pool.sum(SumTask("gradient", "train", step), theta)
        theta = theta - theta.dtype.type(0.05 / total.weight) * total.gradient
    pool.close()
print("lost", sum("was lost" in line for line in told), flush=True)
print(hashlib.sha256(theta.tobytes()).hexdigest())
"""


def in_a_ray_of_its_own(
    calls: str,
    steps: int,
    sizes: tuple[int, ...] = (6, 9, 3),
    before: str = "",
    prefix: tuple[str, ...] = (),
    **ray: str,
) -> int:
    """Make some steps; return how many workers were lost. The bits are compared with those of this process."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [*prefix, sys.executable, "-c", RUN, calls, str(steps), ",".join(map(str, sizes)), before],
        env={**os.environ, "PYTHONPATH": path, **ray},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lost, digest = done.stdout.splitlines()[-2:]
    load = workload(rows=400, shards=8, sizes=sizes)
    pool, theta = serial_pool(load), load.training.network.initial_parameters(0, load.training.precision)
    for step in range(1, steps + 1):
        total = pool.sum(SumTask("gradient", "train", step), theta)
        theta = theta - theta.dtype.type(0.05 / total.weight) * total.gradient
    assert digest == hashlib.sha256(theta.tobytes()).hexdigest()
    assert np.isfinite(theta).all()
    return int(lost.split()[1])


LOSES = '{"CoreWorkerService.grpc_client.PushTask":{"num_failures":-1,"req_failure_prob":%d,"resp_failure_prob":%d}}'


@pytest.mark.long
@pytest.mark.parametrize(("requests", "replies"), [(5, 0), (0, 5)], ids=["requests", "replies"])
def test_calls_through_ray_that_are_lost_on_their_way(requests: int, replies: int) -> None:
    """One in twenty: a worker that Ray cannot reach counts as lost; where only its reply was, the work is done twice."""
    assert in_a_ray_of_its_own("ray", 100, RAY_testing_rpc_failure=LOSES % (requests, replies)) > 0


@pytest.mark.long
def test_calls_that_take_their_time_are_not_taken_for_lost() -> None:
    """20 ms more for each call through Ray: slower, and nothing else."""
    slow = "CoreWorkerService.grpc_server.PushTask=20000:20000"
    assert in_a_ray_of_its_own("ray", 20, RAY_testing_asio_delay_us=slow) == 0


@pytest.mark.long
@pytest.mark.parametrize("calls", ["link", "ray"])
def test_a_full_object_store_changes_nothing(calls: str) -> None:
    """All of Ray's shared memory is taken: vectors over links do not need it, others go by way of Ray's spill folder."""
    fill = "kept = []\nfor _ in range(11): kept.append(ray.put(np.ones(8 << 20, np.uint8)))"
    assert in_a_ray_of_its_own(calls, 5, sizes=(500, 1000, 3), before=fill) == 0


@pytest.mark.long
def test_a_shared_memory_folder_that_is_too_small() -> None:
    """As in a container that was given 1 MiB of it: Ray keeps its store elsewhere, dbp's own memory has no file there."""
    own = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"', "sh")
    if subprocess.run([*own, "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine mounts nothing in a namespace of its own: root only")
    assert in_a_ray_of_its_own("link", 5, sizes=(500, 1000, 3), prefix=own) == 0
