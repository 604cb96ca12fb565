"""A network trained by dbp, as a module of torch; the numbers are in the .safetensors file beside this one.

    from this_file import load
    model = load()                                           # or load("elsewhere.safetensors")
    model.predict({"width": [1.5, 2.0], "height": [3.0, 0.5]})
    model.network                                            # a torch.nn.Sequential: raw outputs from inputs

    python this_file.py TABLE.csv > PREDICTIONS.csv

It needs torch, numpy and safetensors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from dbp.models.export.templates.table_model import TableModel, main


class Threshold(nn.Module):
    """1 where the net input is 0 or more, else 0."""

    def forward(self, net: torch.Tensor) -> torch.Tensor:
        """Return the outputs of the same shape."""
        return (net >= 0).to(net.dtype)


ACTIVATIONS = {
    "identity": nn.Identity,
    "threshold": Threshold,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "softplus": lambda: nn.Softplus(threshold=50),  # torch's own default leaves off what is below 2e-9
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
}


def build(description: Mapping[str, Any]) -> nn.Sequential:
    """Return the network without its numbers: linear layers 0, 2, 4, ... each followed by its activation."""
    layers: list[nn.Module] = []
    for (inputs, outputs), name in zip(pairwise(description["sizes"]), description["activations"], strict=True):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[name]()]
    return nn.Sequential(*layers).to(getattr(torch, description["precision"]))


def load(path: str | Path | None = None) -> TableModel:
    """Return the model of a .safetensors file, by default that beside this one; `network` is a module in evaluation mode."""
    with safe_open(path or Path(__file__).with_suffix(".safetensors"), framework="pt") as file:
        description = json.loads(file.metadata()["metadata"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    network = build(description)
    network.load_state_dict(state)
    return TorchModel(description, network.eval())


class TorchModel(TableModel):
    """Predictions from columns, with a network of torch."""

    def outputs(self, columns: Any) -> np.ndarray:
        """Return the network's raw outputs (rows, outputs)."""
        with torch.no_grad():
            return np.asarray(self.network(torch.from_numpy(self.inputs(columns))))


if __name__ == "__main__":
    main(load(), sys.argv)
