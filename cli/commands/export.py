"""`dbp export`: a model in a form that works without dbp."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dbp.cli.jobs import open_model
from dbp.cli.options import DEFAULT_STORAGE, Force, Json, ModelName, Storage
from dbp.cli.output import Mode, Output, talk
from dbp.errors import InputError

if TYPE_CHECKING:
    from dbp.models.export import Form


class _Form(StrEnum):
    onnx = "onnx"
    numpy = "numpy"
    torch = "torch"


class _Inputs(StrEnum):
    matrix = "matrix"
    columns = "columns"


To = Annotated[
    _Form,
    typer.Option(
        "--to",
        help="onnx: one file for onnxruntime and others. numpy: one Python file. torch: a Python file and a state dict.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The file to write: .onnx, or .py for numpy and torch. Default: the model's name, here.",
        show_default=False,
    ),
]
Inputs = Annotated[
    _Inputs | None,
    typer.Option(
        "--inputs",
        help="For onnx: one matrix of all columns, or an input for each. Default: a matrix where all columns hold numbers.",
        show_default=False,
    ),
]


def export(
    model: ModelName,
    to: To,
    out: Out = None,
    inputs: Inputs = None,
    force: Force = False,
    storage: Storage = DEFAULT_STORAGE,
    json: Json = False,
) -> None:
    """Write a model for use without dbp, preprocessing included.

    What each kind of file holds, and how it is used: docs/export.md.
    """
    from dbp.models.export import files_of
    from dbp.storage.uris import is_uri

    place = _default_place(model, to.value) if out is None else out
    if is_uri(place):
        raise InputError(f"{place}: is a URI; expected a file of this machine for the exported model")
    for file in files_of(place, to.value):
        if file.is_dir():
            raise InputError(f"{file}: is a folder; expected a file for the exported model")
        if file.exists() and not force:
            raise InputError(
                f"{file}: exists already; expected a new file. Give another name with -o, or --force to replace it"
            )
    opened = open_model(model, storage)
    files = opened.export(place, to.value, None if inputs is None else inputs.value)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        facts = {"to": to.value, "files": files, "parameters_sha256": opened.parameters_sha256}
        output.json({**facts, "precision": opened.parameters.dtype.name, **_opset(to)})
        return
    for file in files:
        output.text(str(file))
    talk(f"{opened.parameters.dtype.name}; {_USE[to].format(file=files[0])}")


def _opset(to: _Form) -> dict[str, object]:
    from dbp.models.export.onnx_graph import OPSET

    return {"opset": OPSET} if to is _Form.onnx else {}


_USE = {
    _Form.onnx: "how to run it: docs/export.md",
    _Form.numpy: "python {file} TABLE.csv prints predictions",
    _Form.torch: "python {file} TABLE.csv prints predictions",
}


def _default_place(model: str, to: Form) -> Path:
    """Return a file name of this folder, made of what the person called the model: one that Python can import."""
    from dbp.models.export import ENDINGS, hides_a_module

    stem = re.sub(r"\W", "_", Path(model.rstrip("/")).name.removesuffix(".safetensors"))
    if not stem.isidentifier() or hides_a_module(stem):
        stem = f"model_{stem}"
    return Path(f"{stem}_torch.py" if to == "torch" else f"{stem}{ENDINGS[to]}")
