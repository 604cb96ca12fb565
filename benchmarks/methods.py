"""dbp's training methods beside each other: the loss that a number of passes over the data, and of seconds, buys. Prints JSON.

In this process, float64, full batch, every method with its defaults but for gradient descent (a learning rate and momentum that
suit). Medians over starts. --plot draws the curves of one start into a PNG.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import looking_on
from sklearn import datasets

import dbp
from dbp.errors import JobFailedError, JobFileError
from dbp.optimizers.registry import METHODS

OPTIONS: dict[str, dict[str, Any]] = {name: {"name": name} for name in METHODS}
OPTIONS["gradient_descent"] |= {"learning_rate": 0.3, "momentum": 0.9}


@dataclass(frozen=True)
class Problem:
    """A table and the network to train on it."""

    name: str
    columns: dict[str, np.ndarray]
    task: str
    hidden: tuple[int, ...]
    penalty: float


def digits() -> Problem:
    data = datasets.load_digits()
    columns = {f"x{index}": data.data[:, index] for index in range(64)}
    return Problem("digits, 64-32-10", columns | {"y": data.target}, "classification", (32,), 1e-3)


def diabetes() -> Problem:
    data = datasets.load_diabetes()
    columns = {f"x{index}": data.data[:, index] for index in range(10)}
    return Problem("diabetes, 10-8-1", columns | {"y": data.target}, "regression", (8,), 1e-2)


def friedman() -> Problem:
    inputs, targets = datasets.make_friedman1(5000, 10, noise=0.5, random_state=0)
    columns = {f"x{index}": inputs[:, index] for index in range(10)}
    return Problem("friedman, 5,000 rows, 10-20-10-1", columns | {"y": targets}, "regression", (20, 10), 1e-4)


def run(
    problem: Problem, options: dict[str, Any], passes: int, seed: int, folder: Path
) -> list[tuple[float, float]] | None:
    """Return (seconds, lowest objective so far) after each pass; None where the method does not fit the problem."""
    table = folder / "rows.parquet"
    pq.write_table(pa.table(problem.columns), table)
    values = {
        "name": "benchmark",
        "data": {"train": str(table), "target": "y"},
        "task": problem.task,
        "network": {"hidden": list(problem.hidden)},
        "optimizer": options,
        "training": {"max_steps": passes, "precision": "float64", "seed": seed, "l2_penalty": problem.penalty},
        "checkpoint": {"every": 100000},
        "storage": str(folder / "runs"),
    }
    try:
        job = dbp.Job.from_values(values)
    except JobFileError:
        return None
    with looking_on() as seen:
        try:
            dbp.train(job, workers=0)
        except JobFailedError as error:
            print(error, file=sys.stderr)
    lowest = itertools.accumulate((value for _, value in seen[:passes]), min)
    begun = seen[0][0]
    return [(when - begun, value) for (when, _), value in zip(seen[:passes], lowest, strict=True)]


def draw(curves: dict[str, dict[str, list[tuple[float, float]]]], page: Path) -> None:
    """Draw the objective above the lowest that any method reached, against passes and against seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(curves), 2, figsize=(11, 3.4 * len(curves)), layout="constrained", squeeze=False)
    colours = dict(zip(METHODS, plt.get_cmap("tab10").colors, strict=False))
    for (name, methods), (by_passes, by_seconds) in zip(curves.items(), axes, strict=True):
        floor = min(curve[-1][1] for curve in methods.values())
        for method, curve in methods.items():
            above = np.array([value for _, value in curve]) - floor + 1e-9
            by_passes.plot(np.arange(1, len(curve) + 1), above, label=method, color=colours[method])
            by_seconds.plot([max(seconds, 1e-4) for seconds, _ in curve], above, label=method, color=colours[method])
        by_passes.set(title=name, xlabel="passes over the data", ylabel="objective above the lowest", yscale="log")
        by_seconds.set(title=name, xlabel="seconds", yscale="log", xscale="log")
        for axis in (by_passes, by_seconds):
            axis.grid(alpha=0.3)
    every = {line.get_label(): line for axis in axes.flat for line in axis.get_lines()}
    figure.legend(every.values(), every.keys(), loc="outside upper center", ncols=4, fontsize="small")
    figure.savefig(page, dpi=110)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--plot", type=Path)
    given = arguments.parse_args()
    passes, seeds = (20, 1) if given.quick else (300, 3)
    rows, curves = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for problem in (diabetes(),) if given.quick else (digits(), diabetes(), friedman()):
            drawn = curves.setdefault(problem.name, {})
            for method, options in OPTIONS.items():
                print(f"methods {problem.name} {method}", file=sys.stderr, flush=True)
                found = [run(problem, options, passes, seed, Path(folder)) for seed in range(seeds)]
                kept = [curve for curve in found if curve]
                if not kept:
                    continue
                drawn[method] = kept[0]
                rows.append(
                    {
                        "problem": problem.name,
                        "method": method,
                        "passes": statistics.median(len(curve) for curve in kept),
                        "seconds": statistics.median(curve[-1][0] for curve in kept),
                        "loss": statistics.median(curve[-1][1] for curve in kept),
                    }
                )
    if given.plot:
        draw(curves, given.plot)
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
