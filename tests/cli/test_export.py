"""`dbp export`: files for others, from anything that names a model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
from exported_models import run_onnx

Dbp = Callable[..., Any]


def test_a_job_is_exported_to_all_three(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """By default into files called like the job, as names Python can import; they predict what the model predicts."""
    model, table = _model_and_table(trained, tmp_path)
    onnx = dbp("export", "a-1", "--to", "onnx", "--json")
    assert onnx.code == 0, onnx.err
    assert onnx.json == {
        "to": "onnx",
        "files": ["a_1.onnx"],
        "parameters_sha256": model.parameters_sha256,
        "precision": "float32",
        "opset": 17,
    }
    rows = np.column_stack([np.asarray(table[name], float) for name in model.encoding.features])
    assert run_onnx(tmp_path / "a_1.onnx", {"rows": rows})["label"].tolist() == model.predict(table).tolist()
    for form, files in (("numpy", ["a_1.py"]), ("torch", ["a_1_torch.py", "a_1_torch.safetensors"])):
        ran = dbp("export", "runs/a-1", "--to", form)
        assert (ran.code, ran.out.split()) == (0, files), ran.err
    done = subprocess.run([sys.executable, "a_1.py", "table.csv"], cwd=tmp_path, capture_output=True, check=True)
    (tmp_path / "out.csv").write_bytes(done.stdout)
    out = pyarrow.csv.read_csv(tmp_path / "out.csv")
    assert out["prediction"].to_pylist() == model.predict(table).tolist()
    assert out.column_names[-3:] == ["prediction", "probability_high", "probability_low"]


def test_a_name_that_python_has_already_is_not_taken(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """A script called json.py would import itself; one called 2026.py could not be imported."""
    for name, file in (("json", "model_json.py"), ("2026-1", "model_2026_1.py")):
        (tmp_path / f"{name}.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
        ran = dbp("export", f"{name}.safetensors", "--to", "numpy")
        assert (ran.code, ran.out) == (0, f"{file}\n"), ran.err
    refused = dbp("export", "a-1", "--to", "torch", "-o", "numpy.py")
    assert refused.code == 2
    assert "numpy.py: would hide the module 'numpy', which it needs; expected another name" in refused.err


def test_files_that_are_there_are_kept(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """Either of the two for torch, until --force; and a place that is none is refused before anything is read."""
    (tmp_path / "m.safetensors").write_text("mine")
    refused = dbp("export", "a-1", "--to", "torch", "-o", "m.py")
    assert refused.code == 2
    assert refused.err == (
        "error: m.safetensors: exists already; expected a new file. Give another name with -o, or --force to replace it\n"
    )
    assert not (tmp_path / "m.py").exists()
    assert dbp("export", "a-1", "--to", "torch", "-o", "m.py", "--force").code == 0
    assert (tmp_path / "m.safetensors").read_bytes() != b"mine"


def test_a_model_is_never_overwritten_by_its_own_export(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """The files for torch beside a model of the same name, with --force."""
    before = (trained / "model.safetensors").read_bytes()
    refused = dbp("export", trained / "model.safetensors", "--to", "torch", "-o", trained / "model.py", "--force")
    assert refused.code == 2
    assert "model.safetensors: is a model of dbp; expected another name for the export" in refused.err
    assert (trained / "model.safetensors").read_bytes() == before


def test_words_that_do_not_fit(dbp_each: Callable[..., list[Any]], trained: Path, tmp_path: Path) -> None:
    refusals = (
        (("--to", "numpy", "-o", "m.txt"), "m.txt: expected a name that ends in .py for an export to numpy"),
        (("--to", "torch", "--inputs", "columns"), "inputs 'columns' is for onnx alone; leave it out for torch"),
        (
            ("--to", "onnx", "-o", "s3://b/m.onnx"),
            "s3:/b/m.onnx: is a URI; expected a file of this machine for the exported model",
        ),
        (("--to", "onnx", "-o", "no/where.onnx"), "no/where.onnx: cannot be written: no such file or folder"),
    )
    for ran, (_, message) in zip(dbp_each([("export", "a-1", *words) for words, _ in refusals]), refusals, strict=True):
        assert ran.code == 2, ran
        assert message in ran.err
        assert ran.err.count("\n") == 1


def _model_and_table(trained: Path, folder: Path) -> Any:
    from dbp.models.model import load_model

    return load_model(trained / "model.safetensors"), pyarrow.csv.read_csv(folder / "table.csv")
