"""Columns as ONNX operators: from the graph's inputs to the network's."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dbp.models.export.onnx_graph import Graph
from dbp.models.export.portable import Column, NumberColumn, Portable, refuse

MATRIX = "rows"


def input_names(portable: Portable, inputs: Literal["matrix", "columns"] | None) -> list[str]:
    """Return the names of the graph's inputs. InputError for a matrix where a column does not hold numbers."""
    return [MATRIX] if _is_matrix(portable, inputs) else [column.name for column in portable.columns]


def _is_matrix(portable: Portable, inputs: Literal["matrix", "columns"] | None) -> bool:
    others = [column for column in portable.columns if not isinstance(column, NumberColumn)]
    if inputs == "matrix" and others:
        raise refuse(others[0], "it does not hold numbers", "onnx with one matrix of inputs (columns would do)")
    return not others if inputs is None else inputs == "matrix"


def encode_columns(graph: Graph, portable: Portable, inputs: Literal["matrix", "columns"] | None) -> str:
    """Add the graph's inputs and what makes them the network's; return those (N, inputs) in its precision."""
    import onnx

    double = onnx.TensorProto.DOUBLE
    if _is_matrix(portable, inputs):
        raw = graph.input(MATRIX, double, ["N", len(portable.columns)])
    else:
        columns = [graph.input(column.name, double, ["N", 1]) for column in portable.columns]
        raw = graph.add("Concat", *columns, axis=1)
    wide = _standardise(graph, raw, portable.columns)
    kind = onnx.helper.np_dtype_to_tensor_dtype(portable.dtype)
    return graph.add("Cast", wide, to=kind)


def _standardise(graph: Graph, raw: str, columns: tuple[Column, ...]) -> str:
    mean, scale = ([getattr(column, key) for column in columns] for key in ("mean", "scale"))
    shifted = graph.add("Sub", raw, graph.constant(mean, np.float64))
    return graph.add("Div", shifted, graph.constant(scale, np.float64))
