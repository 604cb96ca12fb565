"""Loss and gradient by torch's automatic differentiation, in float64 on one thread: a reference that shares nothing with dbp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

ACTIVATIONS = {
    "identity": lambda r: r,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softplus": lambda r: functional.softplus(r, threshold=1000.0),  # torch's own default is linear above 20
    "leaky_relu": lambda r: functional.leaky_relu(r, 0.01),
}


def forward(
    sizes: Sequence[int], activations: Sequence[str], theta: torch.Tensor, inputs: torch.Tensor
) -> torch.Tensor:
    """The network's outputs for a flat vector."""
    start, out = 0, inputs
    for fan_in, fan_out, name in zip(sizes[:-1], sizes[1:], activations, strict=True):
        stop = start + fan_in * fan_out
        weights, bias = theta[start:stop].reshape(fan_in, fan_out), theta[stop : stop + fan_out]
        out = ACTIVATIONS[name](out @ weights + bias)
        start = stop + fan_out
    return out


def loss_sum(outputs: torch.Tensor, targets: torch.Tensor, loss: str) -> torch.Tensor:
    """E, summed over samples and outputs."""
    if loss == "squared_error":
        return 0.5 * (outputs - targets).square().sum()
    if loss == "huber":
        return functional.huber_loss(outputs, targets, reduction="sum")
    if loss == "absolute_error":
        return functional.l1_loss(outputs, targets, reduction="sum")
    if loss == "poisson":  # torch leaves out what does not depend on the outputs
        least = torch.special.xlogy(targets, targets) - targets
        return functional.poisson_nll_loss(outputs, targets, reduction="sum") + least.sum()
    if outputs.shape[1] == 1 or loss == "binary_cross_entropy":
        return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="sum")
    return functional.cross_entropy(outputs, targets, reduction="sum")


def loss_and_gradient(
    sizes: Sequence[int],
    activations: Sequence[str],
    theta: np.ndarray,
    inputs: np.ndarray,
    targets: np.ndarray,
    loss: str,
) -> tuple[float, np.ndarray]:
    """E and dE/dtheta (P,), float64."""
    point = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    outputs = forward(sizes, activations, point, torch.tensor(inputs, dtype=torch.float64))
    value = loss_sum(outputs, torch.tensor(targets, dtype=torch.float64), loss)
    value.backward()
    assert point.grad is not None
    return float(value.detach()), point.grad.numpy()
