"""What being safe costs: whole jobs at default settings, as they are and bare, in turn. Prints JSON.

Bare means: no digest of the parameters in each step, no checksum of files, no fsync. Everything else is the same, and so are the
bits of the result. Heartbeats cannot be taken out of a worker from here: what one costs is measured by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import median_seconds

import dbp
from dbp.training.observers import Observer, Plan, Summary
from dbp.workers.actor import BEAT_S
from dbp.workers.link import Link

# rows, features, hidden units, steps
JOBS = {
    "small: 1,797 x 64, 64-32 units": (1_797, 64, (64, 32), 2_000),
    "middle: 20,000 x 100, 64-64 units": (20_000, 100, (64, 64), 400),
    "large: 50,000 x 200, 256-128 units": (50_000, 200, (256, 128), 50),
}


class Stopwatch(Observer):
    """Takes the time from the first step's start to the records' end."""

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        self.began = time.perf_counter()

    def finished(self, summary: Summary) -> None:
        """See `Observer`."""
        self.seconds = time.perf_counter() - self.began


class _NoChecksum:
    """Stands for a SHA-256 that looks at nothing."""

    def update(self, data: object) -> None:
        pass

    def hexdigest(self) -> str:
        return "0" * 64


@contextlib.contextmanager
def bare() -> Iterator[None]:
    """Take the safety out of this process."""
    with (
        patch("dbp.training.coordinator.digest", lambda vector: None),
        patch("dbp.storage.array_file.hashlib", SimpleNamespace(sha256=lambda *data: _NoChecksum())),
        patch("os.fsync", lambda descriptor: None),
    ):
        yield


def write(rows: int, features: int, path: Path) -> None:
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((rows, features), dtype=np.float32)
    score = inputs @ draw.standard_normal(features)
    columns = {f"x{index}": column for index, column in enumerate(inputs.T)}
    pq.write_table(pa.table(columns | {"y": (score > 0).astype(int)}), path)


def step_seconds(table: Path, hidden: tuple[int, ...], steps: int, safe: bool) -> float:
    """Return the seconds of a step, all of a run's divided by its steps: checkpoints and records are in it."""
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
    with contextlib.nullcontext() if safe else bare():
        dbp.train(job, observer=watch)
    return watch.seconds / steps


def beat_share() -> float:
    """Return the share of a worker's time that its heartbeats take."""
    here, there = socket.socketpair()
    link = Link(here, None, None)
    seconds = median_seconds(link.beat, 100)  # few enough for the buffer: nobody reads
    there.close()
    here.close()
    return seconds / BEAT_S


def compare(name: str, rounds: int, quick: bool) -> dict[str, Any]:
    rows, features, hidden, steps = JOBS[name]
    seconds: dict[str, list[float]] = {"safe": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        write(rows, features, table)
        for turn in range(rounds):
            for kind in ("safe", "bare") if turn % 2 else ("bare", "safe"):
                print(f"safety: {name}, {kind}, turn {turn + 1} of {rounds}", file=sys.stderr, flush=True)
                asked = [str(table), json.dumps(hidden), str(steps // 20 if quick else steps), kind]
                # A process of its own: each starts its own Ray, as `dbp run` does.
                done = subprocess.run(
                    [sys.executable, __file__, "--one", *asked], check=True, stdout=subprocess.PIPE, env=os.environ
                )
                seconds[kind].append(float(done.stdout))
    ratios = [a / b - 1 for a, b in zip(seconds["safe"], seconds["bare"], strict=True)]
    return {
        "job": name,
        "steps": steps,
        "rounds": rounds,
        "safe_ms": statistics.median(seconds["safe"]) * 1e3,
        "bare_ms": statistics.median(seconds["bare"]) * 1e3,
        "overhead": statistics.median(ratios),
        "quartiles": [float(np.quantile(ratios, share)) for share in (0.25, 0.75)],
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--one", nargs=4)
    given = arguments.parse_args()
    if given.one:
        table, hidden, steps, kind = given.one
        print(step_seconds(Path(table), tuple(json.loads(hidden)), int(steps), kind == "safe"))
        return
    rounds = 1 if given.quick else given.rounds
    found = [compare(name, rounds, given.quick) for name in list(JOBS)[: 1 if given.quick else None]]
    json.dump({"beat_share": beat_share(), "jobs": found}, sys.stdout)


if __name__ == "__main__":
    main()
