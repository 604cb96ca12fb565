"""What being safe costs: whole jobs at default settings, and the share of their time that goes into it. Prints JSON.

Counted is what training waits for: the digest of the parameters in each step, and checkpoints. Those are written beside training,
by a thread that mostly waits for the disk: training waits until it is told, and where the one before is not done. What that
thread takes of a processor, checksums and all else, is told beside it: it may be a processor that nobody else wanted.
Heartbeats are sent by threads of the workers: what one costs is measured by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import median_seconds

import dbp
from dbp.training import coordinator
from dbp.training.observers import Observer, Plan, Summary
from dbp.training.saving import Saving
from dbp.workers.actor import BEAT_S
from dbp.workers.job_checkpoints import JobCheckpoints
from dbp.workers.link import Link

# rows, features, hidden units, steps
JOBS = {
    "small: 1,797 x 64, 64-32 units": (1_797, 64, (64, 32), 2_000),
    "middle: 20,000 x 100, 64-64 units": (20_000, 100, (64, 64), 400),
    "large: 50,000 x 200, 256-128 units": (50_000, 200, (256, 128), 50),
}

WAITS = ("digest", "waits")  # of the thread that trains
KINDS = (*WAITS, "writing")


class Stopwatch(Observer):
    """Takes the time from the first step's start to the records' end."""

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        self.began = time.perf_counter()

    def finished(self, summary: Summary) -> None:
        """See `Observer`."""
        self.seconds = time.perf_counter() - self.began


class Ledger:
    """Adds up the seconds that each kind of safety takes."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def noted(self, what: str, call: Callable[..., Any], clock: Callable[[], float]) -> Callable[..., Any]:
        """Return the call, its time by a clock noted; once, where calls of a kind are made within one another."""
        deep = 0

        def timed(*arguments: Any, **named: Any) -> Any:
            nonlocal deep
            began, deep = clock(), deep + 1
            try:
                return call(*arguments, **named)
            finally:
                deep -= 1
                if not deep:
                    self.seconds[what] += clock() - began

        return timed


@contextlib.contextmanager
def noting() -> Iterator[Ledger]:
    """Note the time of all that makes this process's training safe."""
    ledger = Ledger()
    waits = {name: getattr(Saving, name) for name in ("checkpoint", "settle", "surely")}
    inside = ledger.noted("waits", lambda call, *arguments, **named: call(*arguments, **named), time.perf_counter)
    writing = ledger.noted("writing", JobCheckpoints.save, time.thread_time)
    with (
        patch("dbp.training.coordinator.digest", ledger.noted("digest", coordinator.digest, time.perf_counter)),
        patch.multiple(Saving, **{name: method(inside, call) for name, call in waits.items()}),
        patch.object(JobCheckpoints, "save", method(writing)),
    ):
        yield ledger


def method(call: Callable[..., Any], *first: Any) -> Callable[..., Any]:
    """Return a function, which classes make a method of, that makes the call with these arguments first."""
    return lambda *arguments, **named: call(*first, *arguments, **named)


def write(rows: int, features: int, path: Path) -> None:
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((rows, features), dtype=np.float32)
    score = inputs @ draw.standard_normal(features)
    columns = {f"x{index}": column for index, column in enumerate(inputs.T)}
    pq.write_table(pa.table(columns | {"y": (score > 0).astype(int)}), path)


def shares(table: Path, hidden: tuple[int, ...], steps: int) -> dict[str, float]:
    """Return the seconds of a step, checkpoints and records in it, and the share of each kind of safety."""
    job = dbp.Job.from_values(
        {
            "name": "safety",
            "data": {"train": str(table), "target": "y"},
            "task": "classification",
            "network": {"hidden": list(hidden)},
            "optimizer": {"name": "gradient_descent", "learning_rate": 0.1},
            "training": {"max_steps": steps},
            "storage": str(table.parent / "runs"),
        }
    )
    watch = Stopwatch()
    with noting() as ledger:
        dbp.train(job, observer=watch)
    return {"step": watch.seconds / steps, **{what: ledger.seconds[what] / watch.seconds for what in KINDS}}


def beat_share() -> float:
    """Return the share of a worker's time that its heartbeats take."""
    here, there = socket.socketpair()
    link = Link(here, None, None)
    seconds = median_seconds(link.beat, 100)  # few enough for the buffer: nobody reads
    there.close()
    here.close()
    return seconds / BEAT_S


def measure(name: str, rounds: int, quick: bool) -> dict[str, Any]:
    """Return the medians of several runs, each in a process of its own, as `dbp run` is."""
    rows, features, hidden, steps = JOBS[name]
    steps = steps // 20 if quick else steps
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        write(rows, features, table)
        found = []
        for turn in range(rounds):
            print(f"safety: {name}, turn {turn + 1} of {rounds}", file=sys.stderr, flush=True)
            command = [sys.executable, __file__, "--one", str(table), json.dumps(hidden), str(steps)]
            found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    medians = {key: statistics.median(each[key] for each in found) for key in ("step", *KINDS)}
    sums = [sum(each[kind] for kind in WAITS) for each in found]
    spread = {"share": statistics.median(sums), "least": min(sums), "most": max(sums)}
    return {"job": name, "steps": steps, "rounds": rounds, **medians, **spread}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--one", nargs=3)
    given = arguments.parse_args()
    if given.one:
        table, hidden, steps = given.one
        print(json.dumps(shares(Path(table), tuple(json.loads(hidden)), int(steps))))
        return
    rounds = 1 if given.quick else given.rounds
    found = [measure(name, rounds, given.quick) for name in list(JOBS)[: 1 if given.quick else None]]
    json.dump({"beat_share": beat_share(), "jobs": found}, sys.stdout)


if __name__ == "__main__":
    main()
