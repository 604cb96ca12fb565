"""A model of several labels, exported: a CSV file goes through the Python file as it does through `dbp predict`."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from exported_models import run_alone, run_onnx

import dbp
from dbp import Model, Network
from dbp.data.encoding import Encoding

PAIRS = ((0, 1), (False, True), ("no", "yes"))


def model() -> Model:
    features, targets = ("a", "b"), ("rain", "snow", "storm")
    encoding = Encoding(features, (0.5, -1.0), (2.0, 1.0), targets, "multilabel", labels=PAIRS)
    network = Network((2, 4, 3), ("tanh", "identity"))
    theta = network.initial_parameters(3, "float64") * 4
    return Model(network, theta, encoding, "binary_cross_entropy")


def test_a_csv_file_gets_the_columns_of_dbp_predict(tmp_path):
    """The same names in the same order; labels alike, probabilities to rounding."""
    draw = np.random.default_rng(0)
    pa.csv.write_csv(pa.table({"a": draw.standard_normal(50), "b": draw.standard_normal(50)}), tmp_path / "rows.csv")
    mine = model()
    dbp.predict(mine, tmp_path / "rows.csv", tmp_path / "predicted.csv")
    wanted = pa.csv.read_csv(tmp_path / "predicted.csv")
    (file,) = mine.export(tmp_path / "model.py", "numpy")
    done = run_alone(file, tmp_path / "rows.csv")
    assert done.returncode == 0, done.stderr
    found = pa.csv.read_csv(io.BytesIO(done.stdout.encode()))
    assert found.column_names == wanted.column_names
    assert found.column_names[2:5] == ["prediction_rain", "probability_rain_0", "probability_rain_1"]
    assert found.column_names[-2:] == ["probability_storm_no", "probability_storm_yes"]
    for name in found.column_names:
        here, there = found[name].to_pylist(), wanted[name].to_pylist()
        if name.startswith("probability"):
            assert here == pytest.approx(there, rel=1e-12)
        else:
            assert here == there


def test_a_row_without_prediction_has_no_label(tmp_path):
    (file,) = model().export(tmp_path / "model.onnx", "onnx")
    found = run_onnx(file, {"rows": np.array([[0.5, -1.0], [np.nan, 0.0]])})
    assert found["valid"].tolist() == [True, False]
    assert found["labels"].dtype == np.int64
    assert found["labels"][1].tolist() == [-1, -1, -1]
    assert set(found["labels"][0].tolist()) <= {0, 1}
    assert np.isnan(found["probabilities"][1]).all()
