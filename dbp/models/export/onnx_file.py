"""Export to ONNX: preprocessing, network and predictions in one graph of standard operators.

Columns are encoded in float64, as dbp does it, then rounded to the network's precision; probabilities and numbers in the targets'
units are float64 again. A graph cannot refuse a row as dbp does: where a row has a value that dbp would refuse, the output
``valid`` is false, and the row's numbers are NaN.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np

import dbp
from dbp.errors import InputError
from dbp.models.export.onnx_columns import encode_columns, input_names
from dbp.models.export.onnx_graph import ML_OPSET, OPSET, Graph
from dbp.models.export.portable import Portable, refuse
from dbp.network.activations import LEAKY_SLOPE
from dbp.storage.atomic_files import write_bytes

Inputs = Literal["matrix", "columns"]

NO_CLASS = -(2**63)  # the label of a row without prediction, of whole-number classes: no class can be it


def write_onnx(portable: Portable, path: Path, inputs: Inputs | None = None) -> list[Path]:
    """Write the file; return its path in a list. InputError for what ONNX cannot express, StorageError for the file."""
    write_bytes(path, onnx_bytes(portable, inputs))
    return [path]


def onnx_bytes(portable: Portable, inputs: Inputs | None = None) -> bytes:
    """Return the file's bytes. `inputs`: one ``matrix`` of all columns, or one input per column; None: a matrix where it fits."""
    require_onnx()
    names = input_names(portable, inputs)
    outputs = (*_outputs(portable), "valid")
    for name in names:
        if name == "" or name in outputs:
            raise refuse(name, f"its name cannot be that of an input (outputs are {', '.join(outputs)})", "onnx")
    graph = Graph({*names, *outputs})
    matrix = encode_columns(graph, portable, inputs)
    valid = _all_finite(graph, matrix, portable.dtype)
    raw = matrix
    for weights, bias, activation in portable.layers:
        net = graph.add("Gemm", raw, graph.constant(weights), graph.constant(bias))
        raw = _activate(graph, activation, net, portable.dtype)
    wide = graph.add("Cast", raw, to=_kind(np.float64))
    if portable.task == "classification":
        _classes(graph, portable, raw, wide, valid)
    elif portable.task == "multilabel":
        _labels(graph, portable, raw, wide, valid)
    else:
        if portable.loss == "poisson":
            wide = graph.add("Exp", wide)
        units = graph.add("Mul", wide, graph.constant(portable.target_scale, np.float64))
        values = graph.add("Add", units, graph.constant(portable.target_mean, np.float64))
        _give_numbers(graph, "prediction", values, valid, len(portable.targets))
    flat = graph.add("Squeeze", valid, graph.constant([1], np.int64))
    graph.output("valid", flat, _kind(np.bool_), ["N"])
    return graph.model(_about(portable), dbp.__version__)


def require_onnx() -> None:
    """Raise InputError where the package is not installed."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise InputError(
            "export to onnx needs the package onnx, which is not installed; pip install 'dbp[onnx]'"
        ) from None


def _about(portable: Portable) -> dict[str, str]:
    description = portable.description()
    return {
        "dbp_version": dbp.__version__,
        "parameters_sha256": portable.parameters_sha256,
        "features": json.dumps([column.name for column in portable.columns]),
        "classes": json.dumps(portable.classes),
        "opset": f"ai.onnx {OPSET}, ai.onnx.ml {ML_OPSET}",
        "description": json.dumps(description),
    }


def _outputs(portable: Portable) -> tuple[str, ...]:
    """Return the names of the outputs but ``valid``."""
    if portable.task == "classification":
        return "label", _class_numbers(portable)
    return ("labels", "probabilities") if portable.task == "multilabel" else ("prediction",)


def _class_numbers(portable: Portable) -> str:
    return "probabilities" if portable.has_probabilities else "scores"


def _all_finite(graph: Graph, matrix: str, dtype: np.dtype[np.floating]) -> str:
    """Return which rows (N, 1) have finite inputs alone. A comparison with NaN is false."""
    largest = graph.constant(np.finfo(dtype).max, dtype)
    bad = graph.add("Not", graph.add("LessOrEqual", graph.add("Abs", matrix), largest))
    count = graph.add(
        "ReduceSum", graph.add("Cast", bad, to=_kind(np.int64)), graph.constant([1], np.int64), keepdims=1
    )
    return graph.add("Equal", count, graph.constant(0, np.int64))


def _activate(graph: Graph, name: str, net: str, dtype: np.dtype[np.floating]) -> str:
    match name:
        case "identity":
            return net
        case "threshold":
            return graph.add("Cast", graph.add("GreaterOrEqual", net, graph.constant(0, dtype)), to=_kind(dtype))
        case "tanh" | "relu":
            return graph.add(name.capitalize(), net)
        case "sigmoid":
            return _logistic(graph, net, dtype)
        case "softplus":  # the operator of that name exists in float32 alone
            power = graph.add("Exp", graph.add("Neg", graph.add("Abs", net)))
            return graph.add("Add", graph.add("Max", net, graph.constant(0, dtype)), _log1p(graph, power, dtype))
        case "leaky_relu":
            return graph.add("Max", net, graph.add("Mul", net, graph.constant(LEAKY_SLOPE, dtype)))
    raise InputError(f"activation {name!r} cannot be exported to onnx")


def _logistic(graph: Graph, net: str, dtype: np.dtype[np.floating]) -> str:
    """Return 1 / (1 + exp -net). onnxruntime's own operator loses the digits of small results, and 4e-18 becomes 0."""
    one = graph.constant(1, dtype)
    return graph.add("Div", one, graph.add("Add", graph.add("Exp", graph.add("Neg", net)), one))


def _log1p(graph: Graph, value: str, dtype: np.dtype[np.floating]) -> str:
    """Return log(1 + value) for 0 <= value <= 1: log(s) of the rounded sum s = 1 + value, and what it lost, divided by s."""
    one = graph.constant(1, dtype)
    total = graph.add("Add", value, one)
    lost = graph.add("Sub", value, graph.add("Sub", total, one))
    return graph.add("Add", graph.add("Log", total), graph.add("Div", lost, total))


def _classes(graph: Graph, portable: Portable, raw: str, wide: str, valid: str) -> None:
    """Add the outputs of a classification."""
    width = portable.sizes[-1]
    if width == 1:
        least = graph.constant(0.0 if portable.has_probabilities else 0.5, portable.dtype)
        index = graph.add("Cast", graph.add("Greater", raw, least), to=_kind(np.int64))
    else:
        index = graph.add("ArgMax", raw, axis=1, keepdims=1)
    _give_labels(graph, portable, index, valid)
    if not portable.has_probabilities:
        _give_numbers(graph, "scores", wide, valid, width)
        return
    if width == 1:
        both = graph.add("Concat", graph.add("Neg", wide), wide, axis=1)
        shares = _logistic(graph, both, np.dtype(np.float64))
    else:
        shares = graph.add("Softmax", wide, axis=1)
    _give_numbers(graph, "probabilities", shares, valid, len(portable.classes))


def _labels(graph: Graph, portable: Portable, raw: str, wide: str, valid: str) -> None:
    """Add the outputs of several labels: 1 where a row has one, 0 where not, -1 in a row without prediction."""
    width = portable.sizes[-1]
    there = graph.add("Cast", graph.add("Greater", raw, graph.constant(0, portable.dtype)), to=_kind(np.int64))
    labels = graph.add("Where", valid, there, graph.constant(-1, np.int64))
    graph.output("labels", labels, _kind(np.int64), ["N", width])
    _give_numbers(graph, "probabilities", _logistic(graph, wide, np.dtype(np.float64)), valid, width)


def _give_labels(graph: Graph, portable: Portable, index: str, valid: str) -> None:
    """Add the output ``label`` (N,): the classes' own type."""
    import onnx

    classes = portable.classes
    if isinstance(classes[0], bool):  # onnxruntime has no Where for truth; a row without prediction is false
        values = graph.add("Gather", graph.constant(classes, np.bool_), index)
        kind, labels = onnx.TensorProto.BOOL, graph.add("And", valid, values)
    else:
        text = isinstance(classes[0], str)
        kind, dtype = (onnx.TensorProto.STRING, str) if text else (onnx.TensorProto.INT64, np.int64)
        values = graph.add("Gather", graph.constant(classes, dtype), index)
        nothing = graph.constant([no_label(portable) if text else NO_CLASS], dtype)
        labels = graph.add("Where", valid, values, nothing)
    graph.output("label", graph.add("Squeeze", labels, graph.constant([1], np.int64)), kind, ["N"])


def no_label(portable: Portable) -> str:
    """Return the label of a row without prediction, of text classes: empty, or what else is no class."""
    label = ""
    while label in portable.classes:
        label = f"({label or 'invalid'})"
    return label


def _give_numbers(graph: Graph, name: str, values: str, valid: str, width: int) -> None:
    """Add an output (N, width) in float64, NaN in rows that are not valid."""
    kept = graph.add("Where", valid, values, graph.constant(np.nan, np.float64))
    graph.output(name, kept, _kind(np.float64), ["N", width])


def _kind(dtype: object) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))  # type: ignore[call-overload]
