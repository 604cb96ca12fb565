"""Measures against scikit-learn's, to 1e-12; the models copy their inputs to their outputs, so that any outputs can be given."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

import dbp.models.evaluating
import dbp.models.number_sums
import dbp.models.ranking
from dbp import Model, Network
from dbp.data.encoding import Encoding
from dbp.errors import DataError
from dbp.models.evaluation import ClassEvaluation, NumberEvaluation
from dbp.models.ranking import Ranking, area
from dbp.network.losses import LossName

LABELS = ("ant", "bee", "cat", "dog")
CLOSE = 1e-12


def classifier(classes: int, outputs: int | None = None, loss: LossName = "cross_entropy") -> Model:
    """Its net inputs are the columns o0, o1, ..."""
    width = outputs or classes
    features = tuple(f"o{k}" for k in range(width))
    encoding = Encoding(features, (0.0,) * width, (1.0,) * width, ("kind",), "classification", LABELS[:classes])
    theta = np.concatenate([np.eye(width).ravel(), np.zeros(width)])
    return Model(Network((width, width), ("identity",)), theta, encoding, loss)


def regression(names: tuple[str, ...] = ("y0", "y1"), mean: float = 0.0, scale: float = 1.0) -> Model:
    width = len(names)
    features = tuple(f"o{k}" for k in range(width))
    moved = (mean,) * width, (scale,) * width
    encoding = Encoding(features, (0.0,) * width, (1.0,) * width, names, "regression", (), *moved)
    theta = np.concatenate([np.eye(width).ravel(), np.zeros(width)])
    return Model(Network((width, width), ("identity",)), theta, encoding, "squared_error")


def outputs_table(outputs: NDArray[np.float64], **more: Any) -> pa.Table:
    return pa.table({f"o{k}": outputs[:, k] for k in range(outputs.shape[1])} | more)


def drawn(
    rows: int, classes: int, width: int, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Outputs, with many equal ones among them; true classes; weights, some of them 0."""
    random = np.random.default_rng(seed)
    outputs = np.round(random.standard_normal((rows, width)) * 2, 1)
    true = random.integers(0, classes, rows)
    if width > 1:
        outputs[np.arange(rows), true] += 1
    else:
        outputs[:, 0] += 2 * true - 1
    return outputs, true, np.round(random.random(rows) * 4) / 3


CASES: dict[str, tuple[int, int | None, LossName]] = {
    "two": (2, None, "cross_entropy"),
    "one logistic output": (2, 1, "cross_entropy"),
    "four": (4, None, "cross_entropy"),
    "squared error": (4, None, "squared_error"),
    "squared error on one output": (2, 1, "squared_error"),
}


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("case", CASES)
def test_measures_of_classes(case: str, weighted: bool) -> None:
    """All of them, with and without sample weights."""
    classes, width, loss = CASES[case]
    model = classifier(classes, width, loss)
    outputs, true, weights = drawn(700, classes, width or classes)
    labels = np.array(LABELS)[true]
    table = outputs_table(outputs, kind=labels, w=weights)
    found = model.evaluate(table, weight="w" if weighted else None)
    assert isinstance(found, ClassEvaluation)
    sample = weights if weighted else None
    predicted = model.predict(table)
    told: dict[str, Any] = {"sample_weight": sample}
    assert found.weight == (pytest.approx(weights.sum(), rel=CLOSE) if weighted else None)
    assert found.accuracy == pytest.approx(reference.accuracy_score(labels, predicted, **told), rel=CLOSE)
    balanced = reference.balanced_accuracy_score(labels, predicted, **told)
    assert found.balanced_accuracy == pytest.approx(balanced, rel=CLOSE)
    for average in ("macro", "weighted"):
        f1 = reference.f1_score(labels, predicted, average=average, **told)
        assert found[f"f1_{average}"] == pytest.approx(f1, rel=CLOSE)
    each = reference.precision_recall_fscore_support(labels, predicted, **told)
    for name, values in zip(("precision", "recall", "f1", "support"), each, strict=True):
        assert [one[name] for one in found["classes"]] == pytest.approx(values, rel=CLOSE)
    np.testing.assert_allclose(found.confusion, reference.confusion_matrix(labels, predicted, **told), rtol=CLOSE)
    scores = model.predict_probabilities(table) if model.has_probabilities else outputs
    areas = [reference.roc_auc_score(true == k, scores[:, min(k, scores.shape[1] - 1)], **told) for k in range(classes)]
    if classes == 2:
        areas = [areas[1]] * 2
    assert [one.roc_auc for one in found.classes] == pytest.approx(areas, rel=CLOSE)
    assert found.roc_auc == pytest.approx(np.mean(areas), rel=CLOSE)
    assert found.roc_auc_error is None
    if model.has_probabilities:
        assert found.log_loss == pytest.approx(reference.log_loss(true, scores, **told), rel=CLOSE)
        if classes > 2:
            whole = reference.roc_auc_score(true, scores, multi_class="ovr", average="macro", **told)
            assert found.roc_auc == pytest.approx(whole, rel=CLOSE)
    else:
        assert "log_loss" not in found
        assert found.calibration is None
    kinds = {type(n) for row in found.confusion for n in row}
    assert kinds == ({float} if weighted else {int})


@pytest.mark.parametrize("classes", [2, 4])
def test_calibration(classes: int) -> None:
    """Curves as scikit-learn draws them, and the error by its definition: the mean distance between sure and right."""
    model = classifier(classes)
    outputs, true, weights = drawn(900, classes, classes, seed=3)
    outputs += 0.01 * np.random.default_rng(4).random(outputs.shape)  # no probability at the very edge of a bin
    table = outputs_table(outputs, kind=np.array(LABELS)[true], w=weights)
    found = model.evaluate(table)
    assert isinstance(found, ClassEvaluation)
    assert found.calibration is not None
    chances = model.predict_probabilities(table)
    owners = [None, *(LABELS[1:2] if classes == 2 else LABELS)]
    assert [curve.of for curve in found.calibration] == owners
    for curve in found.calibration[1:]:
        place = LABELS.index(str(curve.of))
        share, sure = calibration_curve(true == place, chances[:, place], n_bins=10)
        assert [each.share for each in curve.bins] == pytest.approx(share, rel=CLOSE)
        assert [each.probability for each in curve.bins] == pytest.approx(sure, rel=CLOSE)
    for weight, counted in ((None, np.ones(900)), ("w", weights)):
        top, right = chances.max(axis=1), chances.argmax(axis=1) == true
        bins = np.minimum((top * 10).astype(int), 9)
        off = sum(abs((counted * (top - right))[bins == k].sum()) for k in range(10)) / counted.sum()
        assert model.evaluate(table, weight)["calibration_error"] == pytest.approx(off, rel=1e-11)
    assert sum(each.rows for each in found.calibration[0].bins) == 900


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
def test_measures_of_numbers(weighted: bool) -> None:
    """Of each target and of all, with and without sample weights."""
    random = np.random.default_rng(1)
    outputs = random.standard_normal((500, 2)) * [1.0, 30.0]
    true = outputs + random.standard_normal((500, 2)) * [0.5, 40.0] + [0.1, 1000.0]
    weights = np.round(random.random(500) * 4) / 3
    table = outputs_table(outputs, y0=true[:, 0], y1=true[:, 1], w=weights)
    found = regression().evaluate(table, weight="w" if weighted else None)
    assert isinstance(found, NumberEvaluation)
    told: dict[str, Any] = {"sample_weight": weights if weighted else None, "multioutput": "raw_values"}
    squares = reference.mean_squared_error(true, outputs, **told)
    assert [each.rms for each in found.targets] == pytest.approx(np.sqrt(squares), rel=CLOSE)
    assert found.rms == pytest.approx(math.sqrt(squares.mean()), rel=CLOSE)
    absolute = reference.mean_absolute_error(true, outputs, **told)
    assert [each.mae for each in found.targets] == pytest.approx(absolute, rel=CLOSE)
    assert found.mae == pytest.approx(absolute.mean(), rel=CLOSE)
    explained = reference.r2_score(true, outputs, **told)
    assert [each.r2 for each in found.targets] == pytest.approx(explained, rel=1e-11)
    assert found.r2 == pytest.approx(explained.mean(), rel=1e-11)
    kept = weights > 0 if weighted else np.ones(500, bool)
    for k, each in enumerate(found.targets):
        assert each.max_error == pytest.approx(reference.max_error(true[kept, k], outputs[kept, k]), rel=CLOSE)
        bias = np.average(outputs[:, k] - true[:, k], weights=weights if weighted else None)
        assert each.mean_error == pytest.approx(bias, rel=1e-10)
    assert found.max_error == max(each.max_error for each in found.targets)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40), st.booleans()
)
def test_the_area_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool, int]], weighted: bool) -> None:
    """By its definition: all pairs of a row of the class and another, equal scores half."""
    scores, positive = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    weights = np.array([row[2] for row in rows], float) if weighted else np.ones(len(rows))
    pairs = won = 0.0
    for i in np.flatnonzero(positive):
        for j in np.flatnonzero(~positive):
            pairs += weights[i] * weights[j]
            won += weights[i] * weights[j] * (1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0)
    found = area(scores, positive, weights if weighted else None)
    assert math.isnan(found) if not pairs else found == pytest.approx(won / pairs, rel=1e-13, abs=1e-15)


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("log_odds", [True, False], ids=["probabilities", "outputs"])
def test_areas_of_more_scores_than_are_kept(monkeypatch: pytest.MonkeyPatch, log_odds: bool, weighted: bool) -> None:
    """Counted in bins, the area is within the stated bound of the exact one, and the bound is small."""
    random = np.random.default_rng(2)
    classes = random.integers(0, 3, 4000).astype(np.int32)
    scores = random.standard_normal((4000, 3)) * 3 + 2 * (classes[:, None] == np.arange(3))
    scores = 1 / (1 + np.exp(-scores)) if log_odds else scores
    scores[:20] = 0.0
    scores[20:40] = 1.0
    weights = np.round(random.random(4000) * 4) / 3 if weighted else None
    exact = Ranking(3, 4000, log_odds=log_odds, weighted=weighted)
    monkeypatch.setattr(dbp.models.ranking, "EXACT_SCORES", 11_999)
    binned = Ranking(3, 4000, log_odds=log_odds, weighted=weighted)
    assert (exact.exact, binned.exact) == (True, False)
    for ranking in (exact, binned):
        for part in range(0, 4000, 1000):
            rows = slice(part, part + 1000)
            ranking.add(scores[rows], classes[rows], None if weights is None else weights[rows])
    areas, nothing = exact.areas()
    found, off = binned.areas()
    assert nothing is None
    assert off is not None
    assert 0 < off < 1e-3
    for one, other in zip(areas, found, strict=True):
        assert abs(one - other) <= off
    assert areas != found


def test_classes_that_do_not_occur() -> None:
    """No recall and no area of their own; left out of the means. F1 is 0 where the class was predicted, and has no value else."""
    model = classifier(4)
    outputs = np.array([[2.0, 0, 0, -1], [0, 2.0, 0, -1], [0, 0, 2.0, -1]])
    found = model.evaluate(outputs_table(outputs, kind=["ant", "ant", "bee"]))
    assert isinstance(found, ClassEvaluation)
    ant, bee, cat, dog = found.classes
    assert (ant.recall, bee.recall, math.isnan(cat.recall), math.isnan(dog.recall)) == (0.5, 0.0, True, True)
    assert (ant.precision, cat.precision, math.isnan(dog.precision)) == (1.0, 0.0, True)
    assert (cat.f1, math.isnan(dog.f1), math.isnan(cat.roc_auc)) == (0.0, True, True)
    assert found.balanced_accuracy == 0.25
    assert found.f1_macro == pytest.approx((2 / 3 + 0 + 0) / 3)
    alone = model.evaluate(outputs_table(outputs, kind=["ant"] * 3))
    assert math.isnan(alone["roc_auc"])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_measures_do_not_depend_on_row_groups(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, weights and all: parts are cut by row numbers, wherever a file's row groups end."""
    monkeypatch.setattr(dbp.models.evaluating, "PART_ROWS", 256)
    if task == "classification":
        model, (outputs, true, weights) = classifier(4), drawn(3000, 4, 4)
        table = outputs_table(outputs, kind=np.array(LABELS)[true], w=weights)
    else:
        model, random = regression(mean=5.0, scale=3.0), np.random.default_rng(6)
        outputs, weights = random.standard_normal((3000, 2)), random.random(3000)
        table = outputs_table(outputs, y0=random.standard_normal(3000), y1=random.standard_normal(3000), w=weights)
    whole, weighted = model.evaluate(table), model.evaluate(table, "w")
    assert whole != weighted
    for size in (97, 256, 1000):
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=size)
        assert model.evaluate(tmp_path / "t.parquet") == whole
        again = model.evaluate(str(tmp_path / "t.parquet"), "w")
        assert again == weighted
        if isinstance(again, NumberEvaluation) and isinstance(whole, NumberEvaluation):
            np.testing.assert_array_equal(again.points.true, whole.points.true)
    assert pickle.loads(pickle.dumps(whole)) == whole


def test_a_target_that_is_constant_over_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of many 0.1 is not 0.1 to the last bit: R2 has no value all the same."""
    monkeypatch.setattr(dbp.models.evaluating, "PART_ROWS", 256)
    table = outputs_table(np.random.default_rng(0).random((1000, 1)), y0=np.full(1000, 0.1))
    assert math.isnan(regression(("y0",)).evaluate(table)["r2"])


def test_points_are_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as asked for, about; from everywhere; true beside predicted, in the targets' own units."""
    monkeypatch.setattr(dbp.models.number_sums, "POINTS", 200)
    rows = np.arange(10_000, dtype=float)
    found = regression(("y0",), 7.0, 2.0).evaluate(outputs_table(rows[:, None], y0=rows * 2 + 8))
    assert isinstance(found, NumberEvaluation)
    true, predicted = found.points.true[:, 0], found.points.predicted[:, 0]
    assert 190 <= len(true) <= 210
    np.testing.assert_allclose(true - predicted, 1.0)
    steps = np.diff(true) / 2
    assert steps.min() > 10
    assert steps.max() < 150
    few = regression(("y0",)).evaluate(outputs_table(rows[:150, None], y0=rows[:150]))
    assert isinstance(few, NumberEvaluation)
    assert len(few.points.true) == 150


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0, -2.0, 1.0], "column 'w', row 2 .*: -2; expected a weight of at least 0"),
        ([1.0, 1.0, None], "column 'w', row 3 .*: missing; expected a finite number"),
        ([0.0, 0.0, 0.0], "table: column 'w' is 0 in every row; expected a weight above 0"),
        (["a", "b", "c"], "column 'w' holds string; expected numbers"),
    ],
)
def test_weights_that_cannot_be_used(weights: list[Any], words: str) -> None:
    """One line: where, what, and what was expected."""
    table = outputs_table(np.zeros((3, 1)), y0=[1.0, 2.0, 3.0], w=weights)
    with pytest.raises(DataError, match=words):
        regression(("y0",)).evaluate(table, "w")
    with pytest.raises(DataError, match="no column 'v'"):
        regression(("y0",)).evaluate(table, "v")


def test_an_array_has_no_targets() -> None:
    """It is told, before anything is computed."""
    with pytest.raises(DataError, match="expected a table with columns by name"):
        regression(("y0",)).evaluate(np.zeros((3, 1)))  # type: ignore[arg-type]
