"""Columns as ONNX operators: from the graph's inputs to the network's.

Numbers are tensors of float64, NaN where one is missing. Categories are text, whole numbers (int64) or truth (bool); dates are
int64, microseconds since 1970, in UTC where the column has a time zone. ONNX has no missing text or whole number: the empty text
and the smallest whole number stand for it. Inputs that dbp would refuse are NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from dbp.models.export.onnx_dates import date_parts
from dbp.models.export.onnx_graph import Graph
from dbp.models.export.portable import CategoryColumn, Column, DateColumn, NumberColumn, Portable, refuse

MATRIX = "rows"
MISSING_WHOLE = -(2**63)
_REFUSED = -2  # the place of a class that dbp refuses
_KINDS = {"text": "STRING", "whole": "INT64", "truth": "BOOL"}

Inputs = Literal["matrix", "columns"]


class _Block(NamedTuple):
    """A value (N, inputs) in float64, and which of the network's inputs these are."""

    value: str
    places: Sequence[int]


def input_names(portable: Portable, inputs: Inputs | None) -> list[str]:
    """Return the names of the graph's inputs. InputError for a matrix where a column does not hold numbers."""
    return [MATRIX] if _is_matrix(portable, inputs) else [column.name for column in portable.columns]


def _is_matrix(portable: Portable, inputs: Inputs | None) -> bool:
    others = [column for column in portable.columns if not isinstance(column, NumberColumn)]
    if inputs == "matrix" and others:
        raise refuse(others[0], "it does not hold numbers", "onnx with one matrix of inputs (columns would do)")
    return not others if inputs is None else inputs == "matrix"


def encode_columns(graph: Graph, portable: Portable, inputs: Inputs | None) -> str:
    """Add the graph's inputs and what makes them the network's; return those (N, inputs) in its precision.

    InputError for a column that a graph cannot take.
    """
    import onnx

    double = onnx.TensorProto.DOUBLE
    matrix = _is_matrix(portable, inputs)
    raws = [graph.input(MATRIX, double, ["N", len(portable.columns)])] if matrix else []
    blocks: list[_Block] = []
    numbers: list[tuple[NumberColumn, int]] = []  # with the place of its first input
    place = 0
    for column in portable.columns:
        if isinstance(column, NumberColumn):
            if not matrix:
                raws.append(graph.input(column.name, double, ["N", 1]))
            numbers.append((column, place))
        else:
            value = _date(graph, column) if isinstance(column, DateColumn) else _category(graph, column)
            blocks.append(_Block(value, range(place, place + _width(column))))
        place += _width(column)
    if numbers:
        blocks[:0] = _numbers(graph, _concat(graph, raws), numbers)
    kind = onnx.helper.np_dtype_to_tensor_dtype(portable.dtype)
    return graph.add("Cast", _in_order(graph, blocks), to=kind)


def _width(column: Column) -> int:
    return column.width if isinstance(column, CategoryColumn) else len(column.mean)


def _concat(graph: Graph, values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else graph.add("Concat", *values, axis=1)


def _in_order(graph: Graph, blocks: Sequence[_Block]) -> str:
    """Return all inputs side by side, in the network's order."""
    together = _concat(graph, [block.value for block in blocks])
    order = np.argsort([place for block in blocks for place in block.places])
    if (order == np.arange(len(order))).all():
        return together
    return graph.add("Gather", together, graph.constant(order, np.int64), axis=1)


def _numbers(graph: Graph, raw: str, numbers: Sequence[tuple[NumberColumn, int]]) -> list[_Block]:
    """Return the blocks of all columns of numbers at once, and of their indicators."""
    columns = [column for column, _ in numbers]
    filled = raw
    if any(column.fill is not None for column in columns):
        fill = [np.nan if column.fill is None else column.fill for column in columns]
        filled = graph.add("Where", graph.add("IsNaN", raw), graph.constant(fill, np.float64), raw)
    scaled = _standardised(graph, filled, [column.mean[0] for column in columns], [each.scale[0] for each in columns])
    blocks = [_Block(scaled, [place for _, place in numbers])]
    told = [index for index, column in enumerate(columns) if column.indicator]
    if told:
        some = graph.add("Gather", raw, graph.constant(told, np.int64), axis=1)
        missing = graph.add("Cast", graph.add("IsNaN", some), to=_double())
        blocks.append(_Block(missing, [numbers[index][1] + 1 for index in told]))
    return blocks


def _standardised(graph: Graph, raw: str, mean: Sequence[float], scale: Sequence[float]) -> str:
    shifted = graph.add("Sub", raw, graph.constant(mean, np.float64))
    return graph.add("Div", shifted, graph.constant(scale, np.float64))


def _category(graph: Graph, column: CategoryColumn) -> str:
    """Return one input per class (N, width): 1 for a row's own; all NaN for a class that is refused."""
    import onnx

    keys: list[Any] = list(column.classes)
    places = [_REFUSED if place is None else place for place in (*column.places, column.unknown, column.missing)]
    *known, unknown, missing = places
    nothing = {"text": "", "whole": MISSING_WHOLE, "truth": None}[column.family]
    if column.missing is not None and (nothing is None or nothing in keys):
        what = "the empty text is one of its classes" if nothing == "" else "its classes are true and false"
        raise refuse(column, f"a value may be missing, for which ONNX has no word ({what})", "onnx")
    value = graph.input(column.name, getattr(onnx.TensorProto, _KINDS[column.family]), ["N", 1])
    if column.family == "truth":
        value, keys = graph.add("Cast", value, to=onnx.TensorProto.INT64), [int(key) for key in keys]
    if nothing is not None and nothing not in keys:
        keys, known = [*keys, nothing], [*known, missing]
    named = "keys_strings" if column.family == "text" else "keys_int64s"
    table = {named: keys, "values_int64s": known, "default_int64": unknown}
    index = graph.add("LabelEncoder", value, domain="ai.onnx.ml", **table)
    hot = graph.add("Equal", index, graph.constant(np.arange(column.width), np.int64))
    refused = graph.add("Equal", index, graph.constant(_REFUSED, np.int64))
    one_hot = graph.add("Cast", hot, to=_double())
    return graph.add("Where", refused, graph.constant(np.nan, np.float64), one_hot)


def _date(graph: Graph, column: DateColumn) -> str:
    """Return the parts of a date (N, parts) and its indicator; all NaN for a missing one that is refused."""
    import onnx

    moment = graph.input(column.name, onnx.TensorProto.INT64, ["N", 1])
    missing = graph.add("Equal", moment, graph.constant(MISSING_WHOLE, np.int64))
    fill = [np.nan] * len(column.parts) if column.fill is None else column.fill
    # The smallest whole number would overflow; what becomes of it does not matter.
    known = graph.add("Where", missing, graph.constant(0, np.int64), moment)
    raw = _concat(graph, [graph.add("Cast", part, to=_double()) for part in date_parts(graph, known, column.parts)])
    filled = graph.add("Where", missing, graph.constant(fill, np.float64), raw)
    count = len(column.parts)
    inputs = [_standardised(graph, filled, column.mean[:count], column.scale[:count])]
    if column.indicator:
        inputs.append(graph.add("Cast", missing, to=_double()))
    return _concat(graph, inputs)


def _double() -> int:
    import onnx

    return int(onnx.TensorProto.DOUBLE)
