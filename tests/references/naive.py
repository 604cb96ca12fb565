"""The derivation's formulas as they stand: one sample, one neuron, one path at a time; slow on purpose, with nothing of dbp in it.

Weights are ``weights[layer][from][to]``, biases ``biases[layer][to]``; sums over samples are made by `math.fsum`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Function = Callable[[float], float]
Row = Sequence[float]


def _logistic(r: float) -> float:
    return 1 / (1 + math.exp(-r)) if r >= 0 else math.exp(r) / (1 + math.exp(r))


ACTIVATIONS: dict[str, tuple[Function, Function]] = {  # g and g', both of the net input r
    "identity": (lambda r: r, lambda r: 1.0),
    "threshold": (lambda r: 1.0 if r >= 0 else 0.0, lambda r: 0.0),
    "sigmoid": (_logistic, lambda r: _logistic(r) * _logistic(-r)),
    "tanh": (math.tanh, lambda r: 1 / math.cosh(r) ** 2),
    "relu": (lambda r: max(r, 0.0), lambda r: 1.0 if r > 0 else 0.0),
    "softplus": (lambda r: max(r, 0.0) + math.log1p(math.exp(-abs(r))), _logistic),
    "leaky_relu": (lambda r: r if r > 0 else 0.01 * r, lambda r: 1.0 if r > 0 else 0.01),
}


@dataclass(frozen=True)
class Net:
    """A network as lists."""

    weights: list[list[list[float]]]
    biases: list[list[float]]
    activations: tuple[str, ...]

    @classmethod
    def of(cls, sizes: Sequence[int], activations: Sequence[str], theta: np.ndarray) -> Net:
        """Cut a flat vector up as the contract says: per layer the weights (fan_in, fan_out) row-major, then the bias."""
        numbers = iter(theta.astype(float).tolist())
        weights, biases = [], []
        for fan_in, fan_out in pairwise(sizes):
            weights.append([[next(numbers) for _ in range(fan_out)] for _ in range(fan_in)])
            biases.append([next(numbers) for _ in range(fan_out)])
        assert next(numbers, None) is None
        return cls(weights, biases, tuple(activations))

    def nets(self, x: Row) -> list[list[float]]:
        """r of every neuron, layer by layer (F1, F2)."""
        out, nets = list(x), []
        for weights, biases, name in zip(self.weights, self.biases, self.activations, strict=True):
            net = [math.fsum([*(out[i] * weights[i][j] for i in range(len(out))), b]) for j, b in enumerate(biases)]
            nets.append(net)
            out = [ACTIVATIONS[name][0](r) for r in net]
        return nets

    def outputs(self, x: Row) -> list[list[float]]:
        """The outputs of every layer, beginning with the inputs."""
        return [
            list(x),
            *([ACTIVATIONS[n][0](r) for r in net] for n, net in zip(self.activations, self.nets(x), strict=True)),
        ]

    def reach(self, nets: list[list[float]], layer: int, neuron: int, target: int) -> float:
        """dy_target / d(output of a neuron): the sum over all paths from it, of products of g'(r_k) w (S4 and its like)."""
        if layer == len(nets):
            return 1.0 if neuron == target else 0.0
        derivative = ACTIVATIONS[self.activations[layer]][1]
        return math.fsum(
            self.weights[layer][neuron][k] * derivative(nets[layer][k]) * self.reach(nets, layer + 1, k, target)
            for k in range(len(nets[layer]))
        )


def softmax(net: Row) -> list[float]:
    """Probabilities of net inputs; of one net input, the logistic function of it."""
    if len(net) == 1:
        return [_logistic(net[0])]
    top = max(net)
    powers = [math.exp(r - top) for r in net]
    return [power / math.fsum(powers) for power in powers]


def sample_loss(y: Row, t: Row, loss: str) -> float:
    """E of one sample: 1/2 sum_n (y - t)^2 (E1), or the cross-entropy of net inputs."""
    if loss == "squared_error":
        return 0.5 * math.fsum((a - b) ** 2 for a, b in zip(y, t, strict=True))
    if loss == "huber":
        return math.fsum(
            0.5 * e * e if abs(e) <= 1 else abs(e) - 0.5 for e in (a - b for a, b in zip(y, t, strict=True))
        )
    if loss == "absolute_error":
        return math.fsum(abs(a - b) for a, b in zip(y, t, strict=True))
    if loss == "poisson":
        return math.fsum(math.exp(r) - b * r + (b * math.log(b) if b else 0.0) - b for r, b in zip(y, t, strict=True))
    if len(y) == 1 or loss == "binary_cross_entropy":
        return math.fsum(max(r, 0.0) + math.log1p(math.exp(-abs(r))) - b * r for r, b in zip(y, t, strict=True))
    top = max(y)
    log_sum = top + math.log(math.fsum(math.exp(r - top) for r in y))
    return math.fsum(b * (log_sum - r) for r, b in zip(y, t, strict=True))


def sample_error(y: Row, t: Row, loss: str) -> list[float]:
    """dE/dy: y - t (S1), or p - t; clipped to [-1, 1], or only its sign."""
    if loss == "cross_entropy":
        y = softmax(y)
    elif loss == "binary_cross_entropy":
        y = [_logistic(r) for r in y]
    elif loss == "poisson":
        y = [math.exp(r) for r in y]
    errors = [a - b for a, b in zip(y, t, strict=True)]
    if loss == "huber":
        return [min(max(error, -1.0), 1.0) for error in errors]
    return [math.copysign(1.0, error) for error in errors] if loss == "absolute_error" else errors


def total_loss(net: Net, inputs: Sequence[Row], targets: Sequence[Row], loss: str) -> float:
    """E over all samples (E1)."""
    return math.fsum(sample_loss(net.outputs(x)[-1], t, loss) for x, t in zip(inputs, targets, strict=True))


def error_signals(net: Net, x: Row, t: Row, loss: str) -> list[list[float]]:
    """delta of every neuron of every layer, beginning with the inputs, for one sample; along all paths."""
    nets, outputs = net.nets(x), net.outputs(x)
    error = sample_error(outputs[-1], t, loss)
    return [
        [math.fsum(e * net.reach(nets, layer, j, n) for n, e in enumerate(error)) for j in range(len(outputs[layer]))]
        for layer in range(len(outputs))
    ]


def gradient(net: Net, inputs: Sequence[Row], targets: Sequence[Row], loss: str) -> np.ndarray:
    """dE/dtheta, flat: each weight's own written-out sum over the samples (S3)."""
    nets = [net.nets(x) for x in inputs]
    outputs = [net.outputs(x) for x in inputs]
    signals = [error_signals(net, x, t, loss) for x, t in zip(inputs, targets, strict=True)]
    flat: list[float] = []
    for layer, name in enumerate(net.activations):
        derivative = ACTIVATIONS[name][1]

        def through(i: int, b: int, layer: int = layer, derivative: Function = derivative) -> float:
            return signals[i][layer + 1][b] * derivative(nets[i][layer][b])  # delta_B g'(r_B)

        units = range(len(net.biases[layer]))
        for a in range(len(net.weights[layer])):
            for b in units:
                flat.append(math.fsum(through(i, b) * outputs[i][layer][a] for i in range(len(inputs))))
        flat += [math.fsum(through(i, b) for i in range(len(inputs))) for b in units]
    return np.array(flat)
