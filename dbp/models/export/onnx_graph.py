"""An ONNX graph under construction: values have names nobody else uses, constants are arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from dbp.errors import InputError

if TYPE_CHECKING:
    import onnx

OPSET = 17  # of the standard operators
ML_OPSET = 3  # of ai.onnx.ml
IR_VERSION = 8  # what opset 17 came with: onnxruntime 1.12 and later read it
LARGEST_FILE = 2**31 - 1  # bytes, of a protobuf message


class Graph:
    """Nodes, constants, inputs and outputs, in the order in which they are added. Values are known by their names."""

    def __init__(self, taken: Collection[str]) -> None:
        """`taken` are the names of inputs and outputs; values in between get others."""
        self._taken = set(taken)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, kind: int, shape: Sequence[str | int]) -> str:
        """Add an input of an ONNX element type; return its name."""
        import onnx

        self._inputs.append(onnx.helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: str, kind: int, shape: Sequence[str | int]) -> None:
        """Give a value out under a name of its own."""
        import onnx

        self._nodes.append(onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(onnx.helper.make_tensor_value_info(name, kind, shape))

    def constant(self, value: ArrayLike | Sequence[object], dtype: object = None) -> str:
        """Add an array (or number, or list); return its name. Texts are a sequence of str, with dtype ``str``."""
        import onnx

        name = self._fresh("constant")
        if dtype is str:
            texts = [str(text).encode("utf-8") for text in cast("Sequence[object]", value)]
            tensor = onnx.helper.make_tensor(name, onnx.TensorProto.STRING, [len(texts)], texts)
        else:
            tensor = onnx.numpy_helper.from_array(np.array(value, dtype=cast(Any, dtype), order="C"), name)
        self._constants.append(tensor)
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        import onnx

        name = self._fresh(operator)
        self._nodes.append(onnx.helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def model(self, about: Mapping[str, str], version: str) -> bytes:
        """Return the checked model in ONNX's format. InputError where it would be larger than a file of it may be."""
        import onnx

        size = sum(tensor.ByteSize() for tensor in self._constants)
        if size > LARGEST_FILE - (1 << 24):
            raise InputError(
                f"a model of {size:,} bytes; expected one of less than 2 GiB, which is what an ONNX file holds. "
                "Export it to numpy or torch"
            )
        graph = onnx.helper.make_graph(self._nodes, "dbp", self._inputs, self._outputs, self._constants)
        opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = onnx.helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="dbp", producer_version=version
        )
        onnx.helper.set_model_props(model, dict(about))
        onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def _fresh(self, stem: str) -> str:
        number = len(self._nodes) + len(self._constants)
        name = f"{stem}_{number}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name
