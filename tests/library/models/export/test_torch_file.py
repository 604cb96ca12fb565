"""The files for torch: a state dict for a plain nn.Sequential, and a module that needs no dbp."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch
from exported_models import TOLERANCES, deviation, import_file, outputs_of, run_alone
from safetensors import safe_open
from safetensors.torch import load_file

from dbp import Model, Network
from dbp.data.encoding import Encoding


def regression(dtype="float32") -> Model:
    network = Network((2, 5, 4, 2), ("tanh", "softplus", "identity"))
    theta = np.random.default_rng(0).standard_normal(network.parameter_count).astype(dtype)
    names = ("width, of it", "height")
    encoding = Encoding(names, (1.5, -3e6), (2.0, 1e5), ("s", "t"), "regression", (), (5.0, 6.0), (1e3, 1e-3))
    return Model(network, theta, encoding, "squared_error", {"name": "boxes"})


def rows() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(3)
    return {"width, of it": draw.standard_normal(300) * 2 + 1.5, "height": draw.standard_normal(300) * 1e5 - 3e6}


def test_the_state_dict_loads_into_a_sequential_by_hand(tmp_path):
    """As docs/export.md writes it: torch's own names and shapes, nothing of dbp and nothing of the Python file."""
    model = regression()
    _, numbers = model.export(tmp_path / "boxes.py", "torch")
    state = load_file(numbers)
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "0.weight": (5, 2), "0.bias": (5,), "2.weight": (4, 5), "2.bias": (4,), "4.weight": (2, 4), "4.bias": (2,),
    }  # fmt: skip
    nn = torch.nn
    network = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 4), nn.Softplus(), nn.Linear(4, 2))
    network.load_state_dict(state)
    inputs = model.encoding.encode_features(pa.table(rows()), np.dtype("float32"))
    with torch.no_grad():
        raw = network(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(raw, model.outputs(pa.table(rows())), atol=1e-5)


def test_the_python_file_is_the_same_for_every_model(tmp_path):
    """So that no text of a model is in it."""
    model = regression()
    first, _ = model.export(tmp_path / "a.py", "torch")
    renamed = replace(model.encoding, features=("'); x(", '"""'), targets=("\n", "\\"))
    second, _ = replace(model, encoding=renamed, about={"name": '"""'}).export(tmp_path / "b.py", "torch")
    assert first.read_text() == second.read_text()


def test_the_other_file_has_the_description(tmp_path):
    model = regression()
    _, numbers = model.export(tmp_path / "boxes.py", "torch")
    with safe_open(numbers, framework="np") as file:
        description = json.loads(file.metadata()["metadata"])
    assert description["parameters_sha256"] == model.parameters_sha256
    assert description["model"] == "boxes"
    assert [column["name"] for column in description["columns"]] == list(model.encoding.features)


def test_the_module_can_be_trained_on(tmp_path):
    """It is an ordinary module: gradients reach every parameter."""
    file, _ = regression("float64").export(tmp_path / "boxes.py", "torch")
    model = import_file(file).load()
    model.network(torch.from_numpy(model.inputs(rows()))).square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.network.parameters())


def test_alone_it_predicts_a_table_of_csv(tmp_path):
    """In a process that has torch, numpy and safetensors, and no dbp."""
    model = regression("float64")
    pa.csv.write_csv(pa.table(rows()), tmp_path / "t.csv")
    file, _ = model.export(tmp_path / "boxes.py", "torch")
    (tmp_path / "probe.py").write_text("import safetensors\nimport dbp\n")
    assert "No module named 'dbp'" in run_alone(tmp_path / "probe.py", packages=None).stderr
    done = run_alone(file, "t.csv", packages=None)
    assert done.returncode == 0, done.stderr
    out = pa.csv.read_csv(io.BytesIO(done.stdout.encode()))
    assert out.column_names == ["width, of it", "height", "prediction_s", "prediction_t"]
    found = {"prediction": np.column_stack([out["prediction_s"], out["prediction_t"]])}
    assert deviation(model, pa.table(rows()), found) <= TOLERANCES["float64"]


def test_softplus_is_exact_beyond_torchs_own_threshold(tmp_path):
    """torch leaves off log(1 + exp -x) from x = 20 on, 2e-9: more than float64 is promised to differ."""
    network = Network((1, 1), ("softplus",))
    encoding = Encoding(("x",), (0.0,), (1.0,), ("y",), "regression", (), (0.0,), (1.0,))
    model = Model(network, np.array([1.0, 0.0]), encoding, "squared_error")
    file, _ = model.export(tmp_path / "s.py", "torch")
    columns = {"x": np.linspace(-60, 60, 1001)}
    assert deviation(model, pa.table(columns), outputs_of(import_file(file).load(), columns)) <= 1e-15
