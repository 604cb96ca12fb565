"""The ONNX file: what it states, what it makes of rows that dbp refuses, and what it cannot express."""

from __future__ import annotations

import builtins
import json

import numpy as np
import onnx
import pytest
from exported_models import run_onnx

import dbp
from dbp import Model, Network
from dbp.data.encoding import Encoding
from dbp.errors import DataError, InputError


def model_of(classes=("no", "yes"), features=("a", "b"), dtype="float64", activations=("tanh", "identity")) -> Model:
    network = Network((len(features), 5, len(classes) or 2), activations)
    theta = np.random.default_rng(0).standard_normal(network.parameter_count).astype(dtype)
    mean, scale = (1.5,) * len(features), (2.0,) * len(features)
    if classes:
        encoding = Encoding(features, mean, scale, ("kind",), "classification", classes)
        return Model(network, theta, encoding, "cross_entropy")
    encoding = Encoding(features, mean, scale, ("s", "t"), "regression", (), (5.0, 6.0), (1e3, 1e-3))
    return Model(network, theta, encoding, "squared_error")


def test_the_file_states_what_it_is(tmp_path):
    """Opset, format version, names in order, classes, the parameters' SHA-256: for people and programs."""
    model = model_of()
    (file,) = model.export(tmp_path / "m.onnx", "onnx")
    read = onnx.load(file)
    onnx.checker.check_model(read, full_check=True)
    assert {each.domain: each.version for each in read.opset_import} == {"": 17, "ai.onnx.ml": 3}
    assert (read.ir_version, read.producer_name, read.producer_version) == (8, "dbp", dbp.__version__)
    facts = {each.key: each.value for each in read.metadata_props}
    assert json.loads(facts["features"]) == ["a", "b"]
    assert json.loads(facts["classes"]) == ["no", "yes"]
    assert facts["parameters_sha256"] == model.parameters_sha256
    assert facts["dbp_version"] == dbp.__version__
    assert json.loads(facts["description"])["columns"][0] == {
        "kind": "number", "name": "a", "mean": [1.5], "scale": [2.0], "fill": None, "indicator": False,
    }  # fmt: skip
    inferred = onnx.shape_inference.infer_shapes(read, check_type=True, strict_mode=True, data_prop=True)
    shapes = {
        each.name: [size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim]
        for each in [*inferred.graph.input, *inferred.graph.output]
    }
    assert shapes == {"rows": ["N", 2], "label": ["N"], "probabilities": ["N", 2], "valid": ["N"]}


def test_two_exports_have_the_same_bytes(tmp_path):
    first, second = (model_of().export(tmp_path / name, "onnx")[0].read_bytes() for name in ("a.onnx", "b.onnx"))
    assert first == second


def test_any_number_of_rows(tmp_path):
    (file,) = model_of().export(tmp_path / "m.onnx", "onnx")
    for rows in (0, 1, 1000):
        assert [len(values) for values in run_onnx(file, {"rows": np.ones((rows, 2))}).values()] == [rows] * 3


BAD = np.array([[1.0, 2.0], [np.nan, 2.0], [1.0, np.inf], [-np.inf, 0.0], [3.0, 4.0]])
GOOD = [True, False, False, False, True]


@pytest.mark.parametrize("activation", ["relu", "tanh", "leaky_relu", "softplus", "sigmoid"])
def test_a_row_that_dbp_refuses_has_no_numbers(activation, tmp_path):
    """NaN whatever the activation makes of it (a relu makes 0), no label, and `valid` says so; its neighbours are as ever."""
    model = model_of(activations=(activation, "identity"))
    for row in (1, 2, 3):
        with pytest.raises(DataError):
            model.predict(BAD[row : row + 1])
    (file,) = model.export(tmp_path / "m.onnx", "onnx")
    found = run_onnx(file, {"rows": BAD})
    assert found["valid"].tolist() == GOOD
    assert np.isnan(found["probabilities"]).all(axis=1).tolist() == np.invert(GOOD).tolist()
    assert found["label"][~np.array(GOOD)].tolist() == ["", "", ""]
    np.testing.assert_allclose(found["probabilities"][GOOD], model.predict_probabilities(BAD[GOOD]), rtol=1e-12)
    (file,) = model_of(classes=(), activations=(activation, "identity")).export(tmp_path / "r.onnx", "onnx")
    assert np.isnan(run_onnx(file, {"rows": BAD})["prediction"]).all(axis=1).tolist() == np.invert(GOOD).tolist()


@pytest.mark.parametrize(
    ("classes", "nothing"),
    [(("", "x"), "(invalid)"), (("", "(invalid)"), "((invalid))"), ((-1, 1), -(2**63)), ((False, True), False)],
)
def test_the_label_of_a_refused_row_is_no_class(classes, nothing, tmp_path):
    """But for truth, which has no third value."""
    (file,) = model_of(classes).export(tmp_path / "m.onnx", "onnx")
    found = run_onnx(file, {"rows": BAD})
    assert found["label"][1:4].tolist() == [nothing] * 3
    assert found["label"][GOOD].tolist() == model_of(classes).predict(BAD[GOOD]).tolist()


def test_a_number_too_large_for_the_precision_is_refused(tmp_path):
    model = model_of(dtype="float32")
    (file,) = model.export(tmp_path / "m.onnx", "onnx")
    assert run_onnx(file, {"rows": np.array([[1e300, 0.0], [1e30, 0.0]])})["valid"].tolist() == [False, True]
    with pytest.raises(DataError, match="a number that float32 can hold"):
        model.predict(np.array([[1e300, 0.0]]))


def test_the_threshold_is_exact_where_the_net_input_is_zero(tmp_path):
    """A perceptron of whole numbers: AND of two inputs, at the very point where the sum is 0."""
    network = Network((2, 1), ("threshold",))
    encoding = Encoding(("p", "q"), (0.0, 0.0), (1.0, 1.0), ("both",), "classification", (False, True))
    model = Model(network, np.array([1.0, 1.0, -2.0]), encoding, "squared_error")
    rows = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    (file,) = model.export(tmp_path / "m.onnx", "onnx")
    found = run_onnx(file, {"rows": rows})
    assert found["label"].tolist() == model.predict(rows).tolist() == [False, False, False, True]
    assert found["scores"].ravel().tolist() == [0, 0, 0, 1]


def test_inputs_by_column_take_any_names_but_those_of_the_outputs(tmp_path):
    """Names that values inside the graph might have, too."""
    features = ("Gemm_3", "constant_1", "Concat_0", "日本", "a b\n'c'")
    model = model_of(features=features)
    (file,) = model.export(tmp_path / "m.onnx", "onnx", "columns")
    rows = np.random.default_rng(0).standard_normal((7, 5))
    found = run_onnx(file, {name: rows[:, [place]] for place, name in enumerate(features)})
    np.testing.assert_allclose(found["probabilities"], model.predict_probabilities(rows), rtol=1e-12)
    for name in ("label", "valid", ""):
        with pytest.raises(InputError, match=f"column '{name}': its name cannot be that of an input"):
            model_of(features=("a", name)).export(tmp_path / "n.onnx", "onnx", "columns")
    model_of(features=("a", "label")).export(tmp_path / "n.onnx", "onnx", "matrix")


def test_without_the_package_one_line_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *others, **more):
        if name.split(".")[0] == "onnx":
            raise ImportError(name)
        return real(name, *others, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"needs the package onnx, which is not installed; pip install 'dbp\[onnx\]'"):
        model_of().export(tmp_path / "m.onnx", "onnx")
    model_of().export(tmp_path / "m.py", "numpy")
    assert [file.name for file in tmp_path.iterdir()] == ["m.py"]


def test_words_that_mean_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match="'java' is nothing to export to; expected one of: onnx, numpy, torch"):
        model_of().export(tmp_path / "m.java", "java")
    with pytest.raises(InputError, match="inputs 'columns' is for onnx alone"):
        model_of().export(tmp_path / "m.py", "numpy", "columns")
    with pytest.raises(InputError, match="inputs 'rows'; expected matrix or columns"):
        model_of().export(tmp_path / "m.onnx", "onnx", "rows")
