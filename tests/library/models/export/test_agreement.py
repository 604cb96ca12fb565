"""Trained on real tables and exported: ONNX, numpy and torch say what the model says, within the tolerances of docs/export.md."""

from __future__ import annotations

import datetime as dt
import json
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported_models import TOLERANCES, deviation, feeds, import_file, matrix, outputs_of, run_onnx
from sklearn import datasets

import dbp


def _table(name: str) -> pa.Table:
    if name == "weather":
        rows, marks = datasets.make_multilabel_classification(300, n_features=6, n_classes=3, random_state=0)
        words = {"rain": marks[:, 0], "snow": marks[:, 1] == 1, "storm": np.where(marks[:, 2], "yes", "no")}
        return pa.table({f"x{place}": column for place, column in enumerate(rows.T)} | words)
    data = getattr(datasets, f"load_{name}")()
    names = [str(each) for each in data.get("feature_names", range(data.data.shape[1]))]
    columns = {name: data.data[:, place] for place, name in enumerate(names)}
    target = data.target
    if name == "linnerud":
        return pa.table(columns | {f"to {each}": target[:, place] for place, each in enumerate(data.target_names)})
    if name == "iris":
        return pa.table(columns | {"kind": data.target_names[target].tolist()})
    return pa.table(columns | {"kind": target == 1 if name == "breast_cancer" else target})


REGRESSION = ("task=regression", "loss=squared_error")
# table, and what is said beside the usual job
EXAMPLES = {
    "iris": ("iris", ()),
    "iris, text classes, squared error": ("iris", ("loss=squared_error", "network.activation=sigmoid")),
    "digits": ("digits", ("network.activation=relu", "network.hidden=[32, 16]")),
    "breast cancer, true and false": ("breast_cancer", ()),
    "breast cancer, two logits": ("breast_cancer", ("network.outputs=2",)),
    "breast cancer, squared error": ("breast_cancer", ("loss=squared_error",)),
    "breast cancer, squared error of two outputs": ("breast_cancer", ("loss=squared_error", "network.outputs=2")),
    "wine, softplus": ("wine", ("network.activation=softplus",)),
    "wine, leaky relu": ("wine", ("network.activation=leaky_relu",)),
    "wine, no hidden layer": ("wine", ("network.hidden=[]",)),
    "wine, not standardised": ("wine", ("data.standardize=false",)),
    "diabetes": ("diabetes", REGRESSION),
    "diabetes, huber": ("diabetes", ("task=regression", "loss=huber")),
    "linnerud, three targets": (
        "linnerud",
        (*REGRESSION, "data.target=['to Weight', 'to Waist', 'to Pulse']"),
    ),
    "three labels of different types": ("weather", ("task=multilabel", "data.target=[rain, snow, storm]")),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """``trained(example, precision)``: the model and its table."""
    folder = tmp_path_factory.mktemp("trained")

    @cache
    def train(example: str, precision: str) -> tuple[dbp.Model, pa.Table]:
        name, overrides = EXAMPLES[example]
        table = _table(name)
        pq.write_table(table, folder / f"{name}.parquet")
        text = f"""\
name: {name}
data: {{train: {name}.parquet, target: kind}}
task: classification
network: {{hidden: [12]}}
optimizer: {{name: lbfgs}}
training: {{max_steps: 40, l2_penalty: 0.001, precision: {precision}}}
workers: 0
checkpoint: {{every: 1000}}
"""
        overrides = [f"storage={json.dumps(str(folder / 'runs'))}", *overrides]
        return dbp.train(dbp.Job.from_text(text, folder=folder, overrides=overrides)).model, table

    return train


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_exports_agree_with_the_model(example, precision, trained, tmp_path):
    """Both kinds of ONNX inputs, numpy and torch, on every row it was trained on."""
    model, table = trained(example, precision)
    assert model.parameters.dtype == precision
    rows = matrix(model, table)
    columns = {name: rows[:, [place]] for place, name in enumerate(model.encoding.features)}
    found = {}
    for inputs, fed in (("matrix", {"rows": rows}), ("columns", columns)):
        (file,) = model.export(tmp_path / "model.onnx", "onnx", inputs)
        found[f"onnx, {inputs}"] = run_onnx(file, fed)
        assert found[f"onnx, {inputs}"]["valid"].all()
    by_name = {name: rows[:, place] for place, name in enumerate(model.encoding.features)}
    (file,) = model.export(tmp_path / "model.py", "numpy")
    found["numpy"] = outputs_of(import_file(file).model, by_name)
    file, _ = model.export(tmp_path / "model_torch.py", "torch")
    found["torch"] = outputs_of(import_file(file).load(), by_name)
    deviations = {form: deviation(model, table, outputs) for form, outputs in found.items()}
    print({form: f"{seen:.1e}" for form, seen in deviations.items()})  # `pytest -rP` shows it
    assert max(deviations.values()) <= TOLERANCES[precision], deviations


MIXED = """\
name: mixed
data:
  train: mixed.parquet
  target: late
  categories: [zone]
  rare_below: 40
  unknown: other
  dates: {when: [month, weekday, hour]}
  impute: {size: median, carrier: class}
  missing_indicator: true
task: classification
network: {hidden: [6]}
optimizer: {name: lbfgs}
training: {max_steps: 12, l2_penalty: 0.001, precision: float64}
workers: 0
"""


def test_a_trained_model_of_numbers_categories_and_dates_with_holes(tmp_path):
    """The whole way, by a job; rows that it was not trained on have classes that it never saw."""
    draw = np.random.default_rng(8)
    rows = 600
    hours = draw.integers(0, 20_000, rows)
    carrier = draw.choice(["north", "south", "east", "tiny"], rows, p=[0.5, 0.3, 0.18, 0.02])
    table = pa.table(
        {
            "size": pa.array(draw.standard_normal(rows) * 3 + 20, mask=draw.random(rows) < 0.1),
            "carrier": pa.array(carrier, mask=draw.random(rows) < 0.1),
            "zone": draw.integers(1, 5, rows),
            "when": [dt.datetime(2024, 1, 1) + dt.timedelta(hours=int(hour)) for hour in hours],
            "late": np.where((carrier == "south") & (hours % 24 > 8), "yes", "no"),
        }
    )
    pq.write_table(table, tmp_path / "mixed.parquet")
    storage = f"storage={json.dumps(str(tmp_path / 'runs'))}"
    model = dbp.train(dbp.Job.from_text(MIXED, folder=tmp_path, overrides=[storage])).model
    new = pa.table(
        {"size": [None], "carrier": ["new"], "zone": [9], "when": [dt.datetime(1969, 12, 31)], "late": ["no"]}
    )
    table = pa.concat_tables([table, new.cast(table.schema)]).drop(["late"])
    (file,) = model.export(tmp_path / "model.onnx", "onnx")
    found = {"onnx": run_onnx(file, feeds(table))}
    (file,) = model.export(tmp_path / "model.py", "numpy")
    found["numpy"] = outputs_of(import_file(file).model, table.to_pydict())
    file, _ = model.export(tmp_path / "model_torch.py", "torch")
    found["torch"] = outputs_of(import_file(file).load(), table.to_pydict())
    deviations = {form: deviation(model, table, outputs) for form, outputs in found.items()}
    print({form: f"{seen:.1e}" for form, seen in deviations.items()})
    assert found["onnx"]["valid"].all()
    assert len(set(model.predict(table))) == 2
    assert max(deviations.values()) <= TOLERANCES["float64"], deviations


def test_the_examples_learnt_something(trained):
    """Agreement of networks that say the same for every row would say little."""
    for example in ("iris", "digits", "breast cancer, true and false", "breast cancer, squared error"):
        model, table = trained(example, "float32")
        assert model.evaluate(table)["accuracy"] > 0.9
    model, table = trained("linnerud, three targets", "float64")
    assert len(np.unique(model.predict(table)[:, 0])) > 10
