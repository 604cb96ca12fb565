"""Small networks on real data, as dbp's own objective: what the optimisers are measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn import datasets

from dbp import Network
from dbp.data.rows import EncodedRows
from dbp.sums.messages import TrainingWork, Workload
from dbp.sums.pool import serial_pool
from dbp.sums.shards import Shards
from dbp.training.objective import Objective


@dataclass(frozen=True)
class Rows:
    """Rows in memory, as a worker sees a source of rows."""

    inputs: np.ndarray
    targets: np.ndarray

    def summarize(self, part, start, stop):
        raise NotImplementedError("these rows have no columns to look at")

    def encode(self, part, start, stop, encoding, dtype):
        return EncodedRows(self.inputs[start:stop].astype(dtype), self.targets[start:stop].astype(dtype))


def objective(inputs, targets, network: Network, loss: str, l2: float = 0.0, precision: str = "float64") -> Objective:
    """Return dbp's objective (mean over the rows) of a network on rows, computed in this process."""
    work = TrainingWork(network, loss, precision, encoding=None)
    load = Workload(Rows(inputs, targets), {"train": Shards(len(inputs), 4)}, 0, work)
    return Objective(serial_pool(load), network, "mean", l2, classification=loss == "cross_entropy")


def standardized(values: np.ndarray) -> np.ndarray:
    spread = values.std(0)
    return (values - values.mean(0)) / np.where(spread > 0, spread, 1)


def _classes(name: str):
    data = getattr(datasets, f"load_{name}")()
    return standardized(data.data), np.eye(data.target.max() + 1)[data.target]


def _diabetes():
    data = datasets.load_diabetes()
    return standardized(data.data), standardized(data.target[:, None])


def _linnerud():
    data = datasets.load_linnerud()
    return standardized(data.data), standardized(data.target)


def _sine():
    inputs = np.linspace(-1, 1, 100)[:, None]
    return inputs, np.sin(3 * inputs)


def _xor():
    inputs = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]) * 2 - 1
    return inputs, (inputs[:, :1] * inputs[:, 1:] < 0) * 2.0 - 1


def _friedman():
    inputs, targets = datasets.make_friedman1(300, 8, noise=0.3, random_state=0)
    return standardized(inputs), standardized(targets[:, None])


CE, SE = "cross_entropy", "squared_error"
# name: rows, hidden layers, loss, l2_penalty
TEN = {
    "digits": (lambda: _classes("digits"), (8,), CE, 5e-2),
    "breast cancer": (lambda: _classes("breast_cancer"), (10,), CE, 3e-3),
    "diabetes": (_diabetes, (8,), SE, 1e-2),
    "iris": (lambda: _classes("iris"), (10,), CE, 3e-3),
    "wine": (lambda: _classes("wine"), (10,), CE, 3e-3),
    "linnerud": (_linnerud, (5,), SE, 1e-2),
    "sine": (_sine, (6,), SE, 5e-3),
    "xor": (_xor, (5,), SE, 1e-3),
    "friedman": (_friedman, (5, 5), SE, 2e-2),
    "iris, two layers": (lambda: _classes("iris"), (8, 8), CE, 3e-3),
}


def one_of_ten(name: str, precision: str) -> tuple[Objective, np.ndarray]:
    """Return the objective and its start vector, the same numbers in both precisions."""
    rows, hidden, loss, l2 = TEN[name]
    inputs, targets = rows()
    sizes = (inputs.shape[1], *hidden, targets.shape[1])
    network = Network(sizes, [*["tanh"] * len(hidden), "identity"])
    start = network.initial_parameters(0, "float32").astype(precision)
    return objective(inputs, targets, network, loss, l2, precision), start
