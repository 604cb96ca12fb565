"""A network trained by dbp, in one file that needs numpy alone.

    from this_file import predict, predict_probabilities
    predict({"width": [1.5, 2.0], "height": [3.0, 0.5]})     columns by name, each a sequence of values

    python this_file.py TABLE.csv > PREDICTIONS.csv

DESCRIPTION, at the end, says which columns it takes, how they become inputs, and what it is a model of.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import numpy as np

from dbp.models.export.templates.table_model import TableModel, main

LEAKY_SLOPE = 0.01


def activate(name: str, net: np.ndarray) -> np.ndarray:
    """Return g(net), by the name of g."""
    zero = net.dtype.type(0)
    with np.errstate(over="ignore"):
        match name:
            case "identity":
                return net
            case "threshold":
                return (net >= 0).astype(net.dtype)
            case "sigmoid":
                return 1 / (1 + np.exp(-net))
            case "tanh":
                return np.tanh(net)
            case "relu":
                return np.maximum(net, zero)
            case "softplus":
                return np.maximum(net, zero) + np.log1p(np.exp(-np.abs(net)))
            case "leaky_relu":
                return np.where(net > 0, net, net * net.dtype.type(LEAKY_SLOPE))
    raise ValueError(f"no activation {name!r}")


def network(inputs: np.ndarray) -> np.ndarray:
    """Return the raw outputs (rows, outputs) for inputs (rows, inputs)."""
    start, layer = 0, inputs
    for width, name in zip(DESCRIPTION["sizes"][1:], DESCRIPTION["activations"], strict=True):
        middle = start + layer.shape[1] * width
        weights, bias = PARAMETERS[start:middle].reshape(layer.shape[1], width), PARAMETERS[middle : middle + width]
        layer = activate(name, layer @ weights + bias)
        start = middle + width
    return layer


DESCRIPTION: dict[str, Any] = json.loads('{"precision": "float64"}')
# Little-endian numbers: per layer the weights (inputs, outputs), then the bias.
RAW = base64.b64decode("")
PARAMETERS = np.frombuffer(RAW, np.dtype(DESCRIPTION["precision"]).newbyteorder("<")).astype(DESCRIPTION["precision"])

model = TableModel(DESCRIPTION, network)
inputs, outputs = model.inputs, model.outputs
predict, predict_probabilities = model.predict, model.predict_probabilities

if __name__ == "__main__":
    main(model, sys.argv)
