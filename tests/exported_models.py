"""Exported models, used as a stranger would: onnxruntime, and Python files in processes that cannot import dbp."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa

from dbp import Model

# The issue's: probabilities and scores as they are, predicted numbers in units of the target's spread.
MISSING_WHOLE = -(2**63)
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


def run_onnx(file: Path | bytes, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Run an ONNX file in onnxruntime on one thread; return its outputs by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        file if isinstance(file, bytes) else str(file), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def feeds(table: pa.Table) -> dict[str, np.ndarray]:
    """Return a table as docs/export.md says that an ONNX file takes it, by column."""
    fed = {}
    for name in table.column_names:
        column, kind = table[name], table.schema.field(name).type
        if pa.types.is_string(kind):
            values = np.array(["" if cell is None else cell for cell in column.to_pylist()], dtype=object)
        elif pa.types.is_floating(kind):
            values = np.array([np.nan if cell is None else cell for cell in column.to_pylist()])
        elif pa.types.is_boolean(kind):
            values = np.array(column.to_pylist(), dtype=bool)
        else:
            if pa.types.is_timestamp(kind):
                column = column.cast(pa.timestamp("us", kind.tz))
            whole = column.cast(pa.int64()).to_pylist()
            values = np.array([MISSING_WHOLE if cell is None else cell for cell in whole], dtype=np.int64)
        fed[name] = values[:, None]
    return fed


def matrix(model: Model, table: pa.Table) -> np.ndarray:
    """Return the features (rows, features) as numbers."""
    return np.column_stack([np.asarray(table[name], dtype=np.float64) for name in model.encoding.features])


def import_file(path: Path) -> ModuleType:
    """Import a Python file by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_alone(
    path: Path, *arguments: object, packages: tuple[str, ...] | None = ("numpy",)
) -> subprocess.CompletedProcess[str]:
    """Run a Python file without site packages: no dbp, only links to `packages` on its path (None: all that are installed)."""
    site = path.parent / "only"
    site.mkdir(exist_ok=True)
    if packages is None:  # dbp is installed by a .pth file, which nobody reads here
        site = Path(np.__file__).parents[1]
    for name in packages or ():
        home = Path(importlib.util.find_spec(name).origin).parent  # type: ignore[union-attr, arg-type]
        for part in (home, home.with_name(f"{name}.libs")):
            if part.exists() and not (site / part.name).exists():
                (site / part.name).symlink_to(part)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    code = (
        f"import runpy, sys; sys.path.append({str(site)!r}); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, path, *map(str, arguments)],
        cwd=path.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def deviation(model: Model, table: Any, outputs: Mapping[str, np.ndarray]) -> float:
    """Return by how much an exported model's outputs differ from the model's at most; AssertionError where a label does."""
    encoding = model.encoding
    if encoding.task == "regression":
        wanted = model.predict(table).reshape(-1, len(encoding.targets))
        scale = np.array(encoding.target_scale)
        units = np.maximum(1, np.abs(wanted - encoding.target_mean) / scale) * scale
        return float(np.max(np.abs(outputs["prediction"].reshape(wanted.shape) - wanted) / units))
    labels = model.predict(table)
    if encoding.task == "multilabel" and "labels" in outputs:  # of ONNX: 0 and 1
        given = np.array(encoding.labels, dtype=object)[np.arange(len(encoding.labels)), outputs["labels"]]
        outputs = {**outputs, "label": given}
    assert outputs["label"].tolist() == labels.tolist()
    if model.has_probabilities:
        return float(np.max(np.abs(outputs["probabilities"] - model.predict_probabilities(table))))
    wanted = model.outputs(table)
    return float(np.max(np.abs(outputs["scores"] - wanted) / np.maximum(1, np.abs(wanted))))


def outputs_of(exported: Any, columns: Any) -> dict[str, np.ndarray]:
    """Return what a Python file's model makes of columns, under the names of an ONNX file's outputs."""
    raw, predicted = exported.outputs(columns), exported.predict(columns)
    found = {"label": predicted, "prediction": predicted, "scores": raw}
    if exported.description["loss"] in ("cross_entropy", "binary_cross_entropy"):
        found["probabilities"] = exported.predict_probabilities(columns)
    return found
