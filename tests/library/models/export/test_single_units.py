"""One unit at a time: each activation over a wide range, and a single output on either side of its limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exported_models import import_file, outputs_of, run_onnx

from dbp import Model, Network
from dbp.data.encoding import Encoding
from dbp.network.activations import ACTIVATION_NAMES, ActivationName
from dbp.network.losses import LossName

FORMS = ("onnx", "numpy", "torch")


def unit(activation: ActivationName, loss: LossName, classes: tuple[Any, ...] = ()) -> Model:
    """Return a model of one input x that hands x to one unit."""
    kind: Any = ("y",), "classification" if classes else "regression", classes
    units = ((), ()) if classes else ((0.0,), (1.0,))
    encoding = Encoding(("x",), (0.0,), (1.0,), *kind, *units)
    return Model(Network((1, 1), (activation,)), np.array([1.0, 0.0]), encoding, loss)


def exported(model: Model, form: str, x: np.ndarray, folder) -> dict[str, np.ndarray]:
    """Return what an exported model makes of numbers."""
    path = folder / ("m.onnx" if form == "onnx" else "m.py")
    file, *_ = model.export(path, form)
    if form == "onnx":
        return run_onnx(file, {"rows": x[:, None]})
    module = import_file(file)
    return outputs_of(module.load() if form == "torch" else module.model, {"x": x})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_an_activation_is_the_same_relative_to_its_size(activation, form, tmp_path):
    """Also where it is tiny, at 0, and where exp is infinite."""
    model = unit(activation, "squared_error")
    x = np.concatenate([np.linspace(-40, 40, 801), [0.0, -0.0, 1e-300, -1e-300, 1e-9, -1e-9, 800, -800]])
    found = exported(model, form, x, tmp_path)["prediction"].ravel()
    np.testing.assert_allclose(found, model.predict(x[:, None]), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("loss", "limit"), [("cross_entropy", 0.0), ("squared_error", 0.5)])
def test_a_single_output_is_the_second_class_above_its_limit(loss, limit, form, tmp_path):
    """At the limit itself it is the first."""
    model = unit("identity", loss, ("no", "yes"))
    x = np.array([-1.0, 0.0, 1e-9, 0.4, 0.5, np.nextafter(0.5, 1), 0.6, 2.0])
    found = exported(model, form, x, tmp_path)["label"].tolist()
    assert found == model.predict(x[:, None]).tolist() == ["yes" if value > limit else "no" for value in x]


@pytest.mark.parametrize("form", FORMS)
def test_small_probabilities_keep_their_digits(form, tmp_path):
    """Of one output and of two: what a loss is made of."""
    x = np.linspace(-80, 80, 321)
    one = unit("identity", "cross_entropy", ("no", "yes"))
    two = Model(Network((1, 2), ("identity",)), np.array([1.0, -1.0, 0, 0]), one.encoding, "cross_entropy")
    for model in (one, two):
        found = exported(model, form, x, tmp_path)["probabilities"]
        np.testing.assert_allclose(found, model.predict_probabilities(x[:, None]), rtol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_of_equal_outputs_the_first_wins(form, tmp_path):
    network = Network((1, 3), ("identity",))
    encoding = Encoding(("x",), (0.0,), (1.0,), ("y",), "classification", ("a", "b", "c"))
    model = Model(network, np.array([0.0, 1, 1, 0, 0, 0]), encoding, "cross_entropy")
    x = np.array([-1.0, 0.0, 1.0])
    assert exported(model, form, x, tmp_path)["label"].tolist() == model.predict(x[:, None]).tolist() == ["a", "a", "b"]
