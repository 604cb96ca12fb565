"""A suspended laptop: a run, its workers and its Ray are all stopped for longer than any bound, and go on to the same bits.

Real processes, SIGSTOP and SIGCONT. Only the bounds are shorter than a user's. Nobody is declared dead, nor told to be late, for
the time in which the driver itself was stopped.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import family
from sources import workload

from dbp.sums.messages import SumTask
from dbp.sums.pool import serial_pool
from dbp.workers import listening
from dbp.workers.listening import ListeningClock

LOAD = {"rows": 20_000, "shards": 8, "sizes": (32, 128, 10)}
LONGER = 1.25  # times the bound

RUN = """
import hashlib, itertools, select, sys
from sources import workload
from dbp.sums.messages import SumTask
from dbp.sums.pool import TransportPool
from dbp.workers import ray_pool
from dbp.workers.local_ray import embedded_ray

bound, load, told = float(sys.argv[1]), workload(**{load}), []
ray_pool.ANSWER_TIMEOUT_S = bound
ray_pool.START_TIMEOUT_S = max(bound, 20.0)
with embedded_ray(2):
    print("starts", flush=True)
    pool = ray_pool.TransportPool(ray_pool.RayTransport(frozen_s=bound), 2, load, told.append)
    theta = load.training.network.initial_parameters(0, load.training.precision)
    for step in itertools.count(1):
        total = pool.sum(SumTask("gradient", "train", step), theta)
        theta = theta - theta.dtype.type(0.05 / total.weight) * total.gradient
        print(step, hashlib.sha256(theta.tobytes()).hexdigest(), flush=True)
        if select.select([sys.stdin], [], [], 0)[0]:
            break
    pool.close()
print("told", told)
"""


class Run:
    """The process above, its workers and its Ray."""

    def __init__(self, bound: float) -> None:
        path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.driver = subprocess.Popen(
            [sys.executable, "-c", RUN.replace("{load}", repr(LOAD)), str(bound)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.digests: list[str] = []

    def line(self) -> str:
        assert self.driver.stdout is not None
        return self.driver.stdout.readline().strip()

    def steps(self, count: int) -> None:
        """Let it make so many more steps."""
        for _ in range(count):
            words = self.line().split()
            assert words[0] == str(len(self.digests) + 1), words
            self.digests.append(words[1])

    def suspend(self, seconds: float, everybody: bool) -> None:
        """The driver sleeps last and wakes first, as unfair as it gets."""
        pids = family(self.driver.pid) if everybody else [self.driver.pid]
        for pid in reversed(pids):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    def end(self) -> str:
        out, _ = self.driver.communicate("\n", timeout=60)
        *steps, told = out.splitlines()
        self.digests += [line.split()[1] for line in steps]
        assert self.driver.returncode == 0
        return told

    def blames_nobody(self, bound: float) -> None:
        """Who is late on a busy machine may be told so; not by the time of the suspension."""
        told = self.end()
        assert "lost" not in told
        assert all(float(seconds) < bound for seconds in re.findall(r"no answer for ([\d.]+) s", told)), told
        assert self.digests == undisturbed(len(self.digests))


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    made = Run(request.param)
    try:
        while (said := made.line()) != "starts":
            assert made.driver.poll() is None, said
        yield made
    finally:
        for pid in family(made.driver.pid) if made.driver.poll() is None else ():
            os.kill(pid, signal.SIGKILL)
        made.driver.wait()


def undisturbed(count: int) -> list[str]:
    load = workload(**LOAD)
    pool, found = serial_pool(load), []
    theta = load.training.network.initial_parameters(0, load.training.precision)
    for step in range(1, count + 1):
        total = pool.sum(SumTask("gradient", "train", step), theta)
        theta = theta - theta.dtype.type(0.05 / total.weight) * total.gradient
        found.append(hashlib.sha256(theta.tobytes()).hexdigest())
    return found


@pytest.mark.parametrize("run", [4.0], indirect=True)
def test_a_machine_that_was_suspended_in_mid_step_goes_on_as_if_nothing_was(run: Run) -> None:
    """Everybody, then the driver alone, whose workers' signs of life pile up meanwhile."""
    run.steps(5)
    for everybody in (True, False):
        run.suspend(LONGER * 4.0, everybody)
        run.steps(20)
    run.blames_nobody(4.0)


@pytest.mark.long
@pytest.mark.parametrize("run", [20.0], indirect=True)
def test_a_machine_that_was_suspended_while_workers_started(run: Run) -> None:
    run.suspend(LONGER * 20.0, everybody=True)
    run.steps(20)
    run.blames_nobody(20.0)


def test_time_in_which_nobody_listened_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(listening.time, "monotonic", lambda: now)
    clock = ListeningClock(3.0)
    for gap, seconds in ((0.5, 0.5), (3.0, 3.5), (3600.0, 6.5), (0.25, 6.75)):
        now += gap
        assert clock.tick() == clock.seconds == seconds
