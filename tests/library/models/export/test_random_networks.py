"""Any network dbp can hold: every activation, loss and kind of class, against the model itself."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import pytest
from exported_models import TOLERANCES, import_file, run_onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import LOSSES, OF_NET_INPUTS, TRAINABLE

from dbp import Model, Network
from dbp.data.encoding import Encoding
from dbp.models.export.numpy_file import numpy_source
from dbp.models.export.onnx_file import onnx_bytes
from dbp.models.export.portable import Portable

PAIRS = [(0, 1), (False, True), ("no", "yes"), (-3, 2**40)]
KINDS = {"text": ("", "b", "日本"), "whole": (-1, 0, 2**40), "truth": (False, True)}


@st.composite
def models(draw) -> Model:
    """Networks of up to four layers, with columns of very different sizes."""
    loss = draw(st.sampled_from(LOSSES))
    multilabel = loss == "binary_cross_entropy"
    classification = loss == "cross_entropy" or (loss not in OF_NET_INPUTS and draw(st.booleans()))
    classes = draw(st.sampled_from(list(KINDS.values()))) if classification else ()
    features = draw(st.integers(1, 6))
    outputs = len(classes) if classes else draw(st.integers(1, 4))
    if len(classes) == 2 and draw(st.booleans()):
        outputs = 1
    sizes = [features, *draw(st.lists(st.integers(1, 9), max_size=3)), outputs]
    activations = [draw(st.sampled_from(TRAINABLE)) for _ in sizes[1:]]
    if loss in OF_NET_INPUTS:
        activations[-1] = "identity"
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    network = Network(sizes, activations)
    spread = draw(st.sampled_from([0.1, 1.0, 2.0])) / np.sqrt(max(sizes))
    theta = (random.standard_normal(network.parameter_count) * spread).astype(draw(st.sampled_from(list(TOLERANCES))))
    tens = 10.0 ** random.integers(-6, 7, features)
    mean, scale = tuple((random.standard_normal(features) * tens).tolist()), tuple(tens.tolist())
    targets = ("kind",) if classes else tuple(f"t{place}" for place in range(outputs))
    spreads = () if classes or multilabel else tuple((10.0 ** random.integers(-6, 7, outputs)).tolist())
    moved = tuple(np.multiply(spreads, 0.7).tolist())
    if loss == "poisson":
        moved, spreads = (0.0,) * outputs, (1.0,) * outputs
    encoding = Encoding(
        *(tuple(f"c{place}" for place in range(features)), mean, scale, targets),
        "classification" if classes else "multilabel" if multilabel else "regression",
        *(classes, moved, spreads),
        counts=loss == "poisson" and not classes,
        labels=tuple(draw(st.sampled_from(PAIRS)) for _ in targets) if multilabel else (),
    )
    return Model(network, theta, encoding, loss)


def rows_for(model: Model, rows: int = 40) -> np.ndarray:
    draw = np.random.default_rng(5).standard_normal((rows, len(model.encoding.features)))
    return draw * model.encoding.scale + model.encoding.mean


def check(model: Model, rows: np.ndarray, found: dict[str, np.ndarray]) -> None:
    """Compare numbers within the tolerance, labels wherever the numbers leave no doubt."""
    tolerance, raw = TOLERANCES[model.parameters.dtype.name], model.outputs(rows)
    if model.encoding.task == "regression":
        wanted = model.encoding.decode(raw)
        units = np.maximum(1, np.abs(raw)) * model.encoding.target_scale
        if model.encoding.counts:
            wanted = np.exp(raw.astype(np.float64))
            units = np.maximum(1, np.abs(raw)) * np.maximum(1, wanted)
        assert np.max(np.abs(found["prediction"].reshape(wanted.shape) - wanted) / units) <= tolerance
        return
    if model.has_probabilities:
        assert np.max(np.abs(found["probabilities"] - model.predict_probabilities(rows))) <= tolerance
    else:
        assert np.max(np.abs(found["scores"] - raw) / np.maximum(1, np.abs(raw))) <= tolerance
    if model.encoding.task == "multilabel":
        clear = (np.abs(raw) > 10 * tolerance * np.maximum(1, np.abs(raw).max(axis=1, keepdims=True))).tolist()
        wanted = model.predict(rows)
        if "labels" in found:  # of ONNX: 0 and 1
            wanted = (raw > 0).astype(int)
        seen = found["labels"] if "labels" in found else found["label"]
        pairs = zip(np.ravel(seen).tolist(), wanted.ravel().tolist(), np.ravel(clear), strict=True)
        assert all(mine == theirs for mine, theirs, sure in pairs if sure)
        return
    first_two = np.sort(raw, axis=1)[:, -2:]
    least = 0.0 if model.has_probabilities else 0.5
    margin = np.abs(raw[:, 0] - least) if raw.shape[1] == 1 else first_two[:, 1] - first_two[:, 0]
    clear = margin > 10 * tolerance * np.maximum(1, np.abs(raw).max(axis=1))
    assert found["label"][clear].tolist() == model.predict(rows)[clear].tolist()


@settings(max_examples=25, deadline=None)
@given(models())
def test_onnx(model):
    rows = rows_for(model)
    check(model, rows, run_onnx(onnx_bytes(Portable.of(model)), {"rows": rows}))


@settings(max_examples=25, deadline=None)
@given(models())
def test_numpy(model):
    scope = {"__name__": "exported"}
    exec(compile(numpy_source(Portable.of(model)), "exported.py", "exec"), scope)
    rows = rows_for(model)
    outputs, predicted = scope["outputs"](rows), scope["predict"](rows)
    found = {"label": predicted, "prediction": predicted, "scores": outputs}
    if model.has_probabilities:
        found["probabilities"] = scope["predict_probabilities"](rows)
    check(model, rows, found)


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory) -> Path:
    """The Python file for torch, which is the same for all models."""
    pytest.importorskip("torch")
    assert importlib.util.find_spec("safetensors")
    network = Network((1, 1), ("identity",))
    encoding = Encoding(("x",), (0.0,), (1.0,), ("y",), "regression", (), (0.0,), (1.0,))
    path, _ = Model(network, np.ones(2), encoding, "squared_error").export(
        tmp_path_factory.mktemp("torch") / "any_torch.py", "torch"
    )
    return path


@settings(max_examples=25, deadline=None)
@given(model=models())
def test_torch(torch_file, model):
    module = import_file(torch_file)
    with tempfile.TemporaryDirectory() as folder:
        file, numbers = model.export(Path(folder) / "model.py", "torch")
        assert file.read_text() == torch_file.read_text()
        exported = module.load(numbers)
    rows = rows_for(model)
    predicted = exported.predict(rows)
    found = {"label": predicted, "prediction": predicted, "scores": exported.outputs(rows)}
    if model.has_probabilities:
        found["probabilities"] = exported.predict_probabilities(rows)
    check(model, rows, found)
