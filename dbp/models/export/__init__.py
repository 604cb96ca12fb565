"""Models in forms that work without dbp: ONNX, one Python file for numpy, a state dict for torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from dbp.errors import InputError, ModelFileError
from dbp.models.export.portable import Portable

if TYPE_CHECKING:
    from dbp.models.model import Model

Form = Literal["onnx", "numpy", "torch"]
Inputs = Literal["matrix", "columns"]
INPUTS: tuple[Inputs, ...] = get_args(Inputs)
FORMS: tuple[Form, ...] = get_args(Form)
ENDINGS: dict[Form, str] = {"onnx": ".onnx", "numpy": ".py", "torch": ".py"}


def files_of(path: Path, to: Form) -> list[Path]:
    """Return the files that an export to `path` writes. InputError for a path with another ending or a module's name."""
    if to not in FORMS:
        raise InputError(f"{to!r} is nothing to export to; expected one of: {', '.join(FORMS)}")
    if path.suffix != ENDINGS[to]:
        raise InputError(f"{path}: expected a name that ends in {ENDINGS[to]} for an export to {to}")
    if path.suffix == ".py" and hides_a_module(path.stem):
        raise InputError(f"{path}: would hide the module {path.stem!r}, which it needs; expected another name")
    return [path, path.with_suffix(".safetensors")] if to == "torch" else [path]


def hides_a_module(stem: str) -> bool:
    """Whether a Python file of that name, run, would be taken for a module that it needs: a script's folder is looked in first."""
    return stem in sys.stdlib_module_names or stem in ("numpy", "torch", "safetensors")


def export_model(model: Model, path: Path, to: Form, inputs: Inputs | None = None) -> list[Path]:
    """Write the files and return them; see `Model.export`."""
    files = files_of(path, to)
    if inputs is not None and to != "onnx":
        raise InputError(f"inputs {inputs!r} is for onnx alone; leave it out for {to}")
    if inputs not in (None, *INPUTS):
        raise InputError(f"inputs {inputs!r}; expected {' or '.join(INPUTS)}")
    for file in files:
        _spare_models(file)
    portable = Portable.of(model)
    if to == "onnx":
        from dbp.models.export.onnx_file import write_onnx

        write_onnx(portable, path, inputs)
    elif to == "numpy":
        from dbp.models.export.numpy_file import write_numpy

        write_numpy(portable, path)
    else:
        from dbp.models.export.torch_file import write_torch

        write_torch(portable, path)
    return files


def _spare_models(file: Path) -> None:
    """Raise InputError where an export would replace a model: the files for torch beside the very model, say."""
    from dbp.models.model import load_model

    if file.suffix != ".safetensors" or not file.is_file():
        return
    try:
        load_model(file)
    except ModelFileError:
        return
    raise InputError(f"{file}: is a model of dbp; expected another name for the export")
