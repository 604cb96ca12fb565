"""The classic problems of the methods' papers: how often each method solves them from random starts, and in how many evaluations.

python benchmarks/classics.py                 20 seeds, about ten minutes; prints the table of docs/optimizers.md
python benchmarks/classics.py --seeds 3       fewer

Networks are trained in float64 on half the squared error, without a penalty, each method with its defaults (gradient descent,
which has none, with the learning rate below). An evaluation is one pass over the data: value and gradient. A method has failed
when its evaluations are spent or when it says that it cannot improve, most often in a local minimum.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import dbp
from dbp.optimizers.protocol import Evaluation, WithCurvature
from dbp.optimizers.registry import METHODS
from dbp.sums.gradient import gauss_newton_sum

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Classic:
    """A problem, its network, and when it is solved."""

    name: str
    inputs: Array
    targets: Array
    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    evaluations: int  # the budget of one run
    source: str

    def solved(self, outputs: Array) -> bool:
        """Outputs of 0 and 1: all off by less than 0.4 (the 40-20-40 rule, Fahlman 1988); others: mean squared error below 1e-3."""
        if set(np.unique(self.targets)) == {0.0, 1.0}:
            return bool((np.abs(outputs - self.targets) < 0.4).all())
        return bool(np.square(outputs - self.targets).mean() < 1e-3)


def xor() -> Classic:
    inputs = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    targets = np.array([[0.0], [1], [1], [0]])
    return Classic("XOR 2-2-1", inputs, targets, (2, 2, 1), ("sigmoid",) * 2, 500, "Rumelhart et al. 1986")


def encoder(units: int, hidden: int, evaluations: int, source: str) -> Classic:
    name, patterns = f"encoder {units}-{hidden}-{units}", np.eye(units)
    return Classic(name, patterns, patterns, (units, hidden, units), ("sigmoid",) * 2, evaluations, source)


def two_spirals() -> Classic:
    turn = np.arange(97)
    angle, radius = turn * np.pi / 16, (104 - turn) / 104
    one = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    inputs, targets = np.concatenate([one, -one]) / one.std(), np.repeat([[1.0], [0.0]], 97, axis=0)
    activations = ("tanh", "tanh", "sigmoid")
    return Classic("two spirals 2-20-20-1", inputs, targets, (2, 20, 20, 1), activations, 5000, "Lang & Witbrock 1988")


def sine() -> Classic:
    inputs = np.linspace(-1, 1, 60)[:, None]
    return Classic("sine 1-10-1", inputs, np.sin(np.pi * inputs), (1, 10, 1), ("tanh", "identity"), 2000, "a period")


CLASSICS: tuple[Callable[[], Classic], ...] = (
    xor,
    lambda: encoder(4, 2, 500, "Rumelhart et al. 1986"),
    lambda: encoder(10, 5, 500, "Fahlman 1988"),
    lambda: encoder(12, 2, 3000, "Riedmiller & Braun 1993"),
    two_spirals,
    sine,
)

OPTIONS: dict[str, dict[str, Any]] = {name: {"name": name} for name in METHODS}
OPTIONS["gradient_descent"] |= {"learning_rate": 1.0, "momentum": 0.9}


def evaluations_needed(classic: Classic, options: dict[str, Any], seed: int) -> int | None:
    """Return after how many evaluations a run has solved the problem; None if it has not."""
    network = dbp.Network(classic.sizes, classic.activations)
    optimizer = METHODS[options["name"]].model_validate(options).build()
    point = network.initial_parameters(seed, "float64")
    state, asked, rows = optimizer.init(point), 0, len(classic.inputs)
    with np.errstate(all="ignore"):
        while asked < classic.evaluations:
            trials = optimizer.step(point, state)
            asked_for = next(trials)
            while True:
                curved = isinstance(asked_for, WithCurvature)
                at = asked_for.point if curved else asked_for
                matrix = gauss_newton_sum(network, at, classic.inputs) / rows if curved else None
                total = dbp.gradient_sum(network, at, classic.inputs, classic.targets, loss="squared_error")
                asked += 1
                try:
                    asked_for = trials.send(Evaluation(total.loss / rows, total.gradient / rows, curvature=matrix))
                except StopIteration as done:
                    result = done.value
                    break
            point, state = result.parameters, result.state
            if classic.solved(network.forward(point, classic.inputs)):
                return asked
            if result.finished or not np.isfinite(point).all():
                return None
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="How often the methods solve the classic problems.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    arguments = parser.parse_args()
    print("| problem | " + " | ".join(arguments.methods) + " |")
    print("|---|" + "---|" * len(arguments.methods))
    for make in CLASSICS:
        classic, cells = make(), []
        for method in arguments.methods:
            runs = [evaluations_needed(classic, OPTIONS[method], seed) for seed in range(arguments.seeds)]
            solved = [run for run in runs if run is not None]
            median = f" ({statistics.median(solved):.0f})" if solved else ""
            cells.append(f"{len(solved)}/{len(runs)}{median}")
        print(f"| {classic.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
