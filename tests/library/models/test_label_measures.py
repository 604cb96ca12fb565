"""Measures of several labels against scikit-learn's, to 1e-12; the model copies its inputs to its outputs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

import dbp.models.evaluating
import dbp.models.ranking
from dbp import Model, Network
from dbp.data.encoding import Encoding
from dbp.errors import DataError, ModelFileError
from dbp.models.evaluation import LabelEvaluation

PAIRS = ((0, 1), (False, True), ("no", "yes"), (3, 7))
NAMES = ("rain", "snow", "storm", "fog")
CLOSE = 1e-12


def model(labels: int = 4) -> Model:
    """Its net inputs are the columns o0, o1, ..."""
    features = tuple(f"o{k}" for k in range(labels))
    width = len(features)
    theta = np.concatenate([np.eye(width).ravel(), np.zeros(width)])
    encoding = Encoding(features, (0.0,) * width, (1.0,) * width, NAMES[:width], "multilabel", labels=PAIRS[:width])
    return Model(Network((width, width), ("identity",)), theta, encoding, "binary_cross_entropy")


def drawn(rows: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64], pa.Table]:
    """Net inputs, many of them equal; labels, some rows without any; and both with weights as a table."""
    random = np.random.default_rng(seed)
    known = random.integers(0, 2, (rows, 4))
    known[::5] = 0
    outputs = np.round(random.standard_normal((rows, 4)) * 2, 1) + known - 0.5
    outputs[::10] = -1.5
    columns: dict[str, Any] = {f"o{k}": outputs[:, k] for k in range(4)}
    for place, (name, pair) in enumerate(zip(NAMES, PAIRS, strict=True)):
        columns[name] = np.array(pair)[known[:, place]]
    weights = np.round(random.random(rows) * 4) / 3
    return outputs, known, pa.table(columns | {"w": weights})


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
def test_measures_of_labels(weighted: bool) -> None:
    outputs, known, table = drawn(700)
    found = model().evaluate(table, weight="w" if weighted else None)
    assert isinstance(found, LabelEvaluation)
    weights = np.asarray(table["w"])
    told: dict[str, Any] = {"sample_weight": weights if weighted else None}
    predicted, chances = (outputs > 0).astype(int), model().predict_probabilities(table)
    assert found.weight == (pytest.approx(weights.sum(), rel=CLOSE) if weighted else None)
    assert found.accuracy == pytest.approx(reference.accuracy_score(known, predicted, **told), rel=CLOSE)
    assert found.hamming_loss == pytest.approx(reference.hamming_loss(known, predicted, **told), rel=CLOSE)
    for average in ("micro", "macro", "samples"):
        f1 = reference.f1_score(known, predicted, average=average, zero_division=np.nan, **told)
        assert found[f"f1_{average}"] == pytest.approx(f1, rel=CLOSE)
    each = reference.precision_recall_fscore_support(known, predicted, **told)
    for name, values in zip(("precision", "recall", "f1", "support"), each, strict=True):
        assert [one[name] for one in found["labels"]] == pytest.approx(values, rel=CLOSE)
    areas = [reference.roc_auc_score(known[:, k], chances[:, k], **told) for k in range(4)]
    assert [one.roc_auc for one in found.labels] == pytest.approx(areas, rel=CLOSE)
    assert found.roc_auc == pytest.approx(np.mean(areas), rel=CLOSE)
    losses = [reference.log_loss(known[:, k], chances[:, k], **told) for k in range(4)]
    assert [one.log_loss for one in found.labels] == pytest.approx(losses, rel=CLOSE)
    assert found.log_loss == pytest.approx(np.mean(losses), rel=CLOSE)
    squares = reference.mean_squared_error(known, chances, **told)
    assert found.rms == pytest.approx(math.sqrt(squares), rel=CLOSE)
    assert [one.label for one in found.labels] == [1, True, "yes", 7]
    assert {type(one.support) for one in found.labels} == {float if weighted else int}


def test_a_label_that_nobody_has_counts_in_no_mean() -> None:
    outputs, known, table = drawn(200)
    known[:, 0], outputs[:, 0] = 0, -1
    table = table.set_column(0, "o0", pa.array(outputs[:, 0]))
    table = table.set_column(table.column_names.index("rain"), "rain", pa.array(known[:, 0]))
    found = model().evaluate(table)
    first, *others = found["labels"]
    assert all(math.isnan(first[name]) for name in ("precision", "recall", "f1", "roc_auc"))
    assert found["f1_macro"] == pytest.approx(np.mean([each["f1"] for each in others]), rel=CLOSE)
    assert found["roc_auc"] == pytest.approx(np.mean([each["roc_auc"] for each in others]), rel=CLOSE)


def test_measures_do_not_depend_on_how_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of different lengths, and many parts: the same sums to the last bit where parts are the same."""
    _, _, table = drawn(900)
    found = []
    monkeypatch.setattr(dbp.models.evaluating, "PART_ROWS", 128)
    for rows in (50, 333):
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=rows)
        found.append(dict(model().evaluate(tmp_path / "t.parquet", weight="w")))
    assert found[0] == found[1]
    assert found[0]["f1_micro"] == pytest.approx(model().evaluate(table, weight="w")["f1_micro"], rel=CLOSE)


def test_areas_in_bins_say_how_far_they_may_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, table = drawn(700)
    exact = model().evaluate(table)
    monkeypatch.setattr(dbp.models.ranking, "EXACT_SCORES", 100)
    binned = model().evaluate(table)
    assert binned["roc_auc_error"] > 0
    pairs = zip(exact["labels"], binned["labels"], strict=True)
    assert all(abs(one["roc_auc"] - other["roc_auc"]) <= binned["roc_auc_error"] for one, other in pairs)


def test_a_model_file_keeps_the_labels(tmp_path: Path) -> None:
    outputs, _, table = drawn(30)
    mine = model()
    mine.save(tmp_path / "m.safetensors")
    loaded = dbp.load_model(tmp_path / "m.safetensors")
    assert loaded.encoding == mine.encoding
    predicted = loaded.predict(table)
    assert predicted.shape == (30, 4)
    wanted = [[pair[int(net > 0)] for pair, net in zip(PAIRS, row, strict=True)] for row in outputs]
    assert predicted.tolist() == wanted
    assert loaded.predict(table.slice(0, 0)).shape == (0, 4)
    alike = model(1)
    assert alike.predict(np.array([[1.0], [-1.0]])).dtype == np.int64


def test_what_is_no_model_of_labels_is_refused(tmp_path: Path) -> None:
    mine = model()
    Model(mine.network, mine.parameters, mine.encoding, "squared_error").save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match="the loss squared_error for a multilabel model"):
        dbp.load_model(tmp_path / "m.safetensors")
    for labels in ([[0, 1]], [[0, 1, 2]] * 4, [[0, 0]] * 4, [[0, "a"]] * 4, []):
        with pytest.raises(ValueError, match="does not fit together"):
            Encoding.from_json(mine.encoding.to_json() | {"labels": labels})


def test_a_class_that_is_not_the_labels_is_refused() -> None:
    _, _, table = drawn(9)
    place = table.column_names.index("storm")
    with pytest.raises(DataError, match=r"column 'storm', row 1 .*'perhaps'; expected one of the classes 'no', 'yes'"):
        model().evaluate(table.set_column(place, "storm", pa.array(["perhaps"] + ["no"] * 8)))
