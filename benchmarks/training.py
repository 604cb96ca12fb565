"""Training to the loss that scikit-learn's L-BFGS ends at: scikit-learn, torch and dbp side by side. Prints JSON.

Every contender minimises the same objective: the mean cross-entropy plus scikit-learn's penalty, alpha / (2 rows) |w|^2. For
each seed scikit-learn trains first; the others must reach its final training loss from starts of their own, drawn alike
(Glorot-uniform). Passes are evaluations of loss and gradient over all rows. dbp trains with two worker processes, and with two
threads of one process. Its seconds are those of its steps; starting Ray, reading the table and writing the model come once per job:
they are in the seconds of the whole job.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import looking_on
from sklearn import datasets
from sklearn.neural_network import MLPClassifier

import dbp

HIDDEN = (64, 64)
ALPHA = 1e-4
THREADS = 2
DBP = {"dbp, 2 processes": "2", "dbp, 2 threads": "{threads: 2}"}


@dataclass(frozen=True)
class Problem:
    """Rows with classes, standardised."""

    name: str
    inputs: np.ndarray  # (rows, features) float64
    classes: np.ndarray  # (rows,)
    iterations: int  # scikit-learn's max_iter

    @property
    def penalty(self) -> float:
        return ALPHA / len(self.inputs)

    @property
    def outputs(self) -> int:
        count = int(self.classes.max()) + 1
        return 1 if count == 2 else count


def digits(quick: bool) -> Problem:
    data = datasets.load_digits()
    spread = data.data.std(0)
    inputs = (data.data - data.data.mean(0)) / np.where(spread > 0, spread, 1)
    return Problem("digits, 1,797 x 64, 10 classes", inputs, data.target, 20 if quick else 200)


def made_up(quick: bool) -> Problem:
    """Classes by a teacher network with noise: 100,000 rows, 100 features, 2 classes."""
    rows = 2_000 if quick else 100_000
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((rows, 100))
    hidden = np.tanh(inputs @ draw.standard_normal((100, 20)) / 10)
    score = hidden @ draw.standard_normal(20) + 0.3 * draw.standard_normal(rows)
    return Problem(f"made up, {rows:,} x 100, 2 classes", inputs, (score > 0).astype(int), 10 if quick else 60)


def scikit_learn(problem: Problem, precision: str, seed: int) -> dict[str, float]:
    """Train as scikit-learn does by itself; its loss includes the penalty."""
    import warnings

    model = MLPClassifier(HIDDEN, "tanh", solver="lbfgs", alpha=ALPHA, max_iter=problem.iterations, random_state=seed)
    inputs = problem.inputs.astype(precision)
    passes = 0
    plain = model._backprop

    def counted(*arguments: Any) -> Any:
        nonlocal passes
        passes += 1
        return plain(*arguments)

    model._backprop = counted
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it may not have converged: that is its loss all the same
        model.fit(inputs, problem.classes)
    return {"seconds": time.perf_counter() - began, "passes": passes, "loss": float(model.loss_)}


class _ReachedError(Exception):
    pass


def torch_lbfgs(problem: Problem, precision: str, seed: int, target: float) -> dict[str, float]:
    """torch.optim.LBFGS with its strong-Wolfe search, full batch, two threads."""
    torch.manual_seed(seed)
    torch.set_num_threads(THREADS)
    kind = getattr(torch, precision)
    sizes = [problem.inputs.shape[1], *HIDDEN, problem.outputs]
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        linear = torch.nn.Linear(fan_in, fan_out, dtype=kind)
        torch.nn.init.xavier_uniform_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
        layers += [linear, torch.nn.Tanh()]
    model = torch.nn.Sequential(*layers[:-1])
    inputs = torch.from_numpy(problem.inputs).to(kind)
    if problem.outputs == 1:
        targets, loss_of = (
            torch.from_numpy(problem.classes[:, None]).to(kind),
            torch.nn.functional.binary_cross_entropy_with_logits,
        )
    else:
        targets, loss_of = torch.from_numpy(problem.classes).long(), torch.nn.functional.cross_entropy
    weights = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=2000, max_eval=5000, history_size=10, line_search_fn="strong_wolfe",
        tolerance_grad=0, tolerance_change=0,
    )  # fmt: skip
    passes, value = 0, np.inf

    def closure() -> torch.Tensor:
        nonlocal passes, value
        if value <= target:
            raise _ReachedError
        optimizer.zero_grad()
        loss = loss_of(model(inputs), targets) + 0.5 * problem.penalty * sum(w.square().sum() for w in weights)
        loss.backward()
        passes, value = passes + 1, float(loss.detach())
        return loss

    began = time.perf_counter()
    with contextlib.suppress(_ReachedError):
        optimizer.step(closure)
    return {"seconds": time.perf_counter() - began, "passes": passes, "loss": value}


def dbp_lbfgs(
    problem: Problem, table: Path, precision: str, seed: int, target: float, workers: str
) -> dict[str, float]:
    """Train with dbp until a step ends at or below the target."""
    job = dbp.Job.from_text(
        f"""
name: benchmark
data: {{train: {table}, target: label, standardize: false}}
task: classification
network: {{hidden: [64, 64], activation: tanh}}
optimizer: {{name: lbfgs}}
training: {{max_steps: 3000, precision: {precision}, seed: {seed}, l2_penalty: {problem.penalty!r}}}
stopping: {{target_loss: {target!r}}}
checkpoint: {{every: 100000}}
workers: {workers}
storage: {table.parent / "runs"}
"""
    )
    with looking_on() as seen:
        began = time.perf_counter()
        result = dbp.train(job)
        whole = time.perf_counter() - began
    seconds = sum(step.seconds for step in result.history)
    return {"seconds": seconds, "passes": len(seen), "loss": result.summary.loss, "whole": whole}


def beside_peers(problem: Problem, precision: str, seeds: int, folder: Path) -> dict[str, Any]:
    """Return medians over seeds; contenders take turns."""
    table = folder / "rows.parquet"
    write(problem, table)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ("scikit-learn", "torch", *DBP)}
    for seed in range(seeds):
        print(f"training {problem.name} {precision} seed {seed}", file=sys.stderr, flush=True)
        first = scikit_learn(problem, precision, seed)
        runs["scikit-learn"].append(first)
        runs["torch"].append(torch_lbfgs(problem, precision, seed, first["loss"]))
        for name, workers in DBP.items():
            runs[name].append(dbp_lbfgs(problem, table, precision, seed, first["loss"], workers))
    return {
        "problem": problem.name,
        "precision": precision,
        "contenders": {name: medians(found) for name, found in runs.items()},
        "ratios": {name: [ratio(runs[peer], runs[name]) for peer in ("scikit-learn", "torch")] for name in DBP},
    }


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def ratio(slow: list[dict[str, float]], fast: list[dict[str, float]]) -> float:
    return statistics.median(a["seconds"] / b["seconds"] for a, b in zip(slow, fast, strict=True))


def write(problem: Problem, table: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {f"x{index}": problem.inputs[:, index] for index in range(problem.inputs.shape[1])}
    pq.write_table(pa.table(columns | {"label": problem.classes}), table)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    quick = arguments.parse_args().quick
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for make in (digits, made_up):
            for precision in ("float32",) if quick else ("float64", "float32"):
                seeds = 1 if quick else 7 if make is digits else 3
                found.append(beside_peers(make(quick), precision, seeds, Path(folder)))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
