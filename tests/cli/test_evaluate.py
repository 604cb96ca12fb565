"""`dbp evaluate`: tables, JSON and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.image import imread

from dbp.cli.measures import show
from dbp.cli.output import Output
from dbp.cli.pictures import draw_pictures
from dbp.models.class_sums import ClassMeter
from dbp.models.evaluation import Evaluation
from dbp.models.label_sums import LabelMeter
from dbp.models.number_sums import NumberMeter

Dbp = Callable[..., Any]


def test_a_classifier_in_a_pipe(dbp: Dbp, trained: Path) -> None:
    """Measures, a line for each class, and who was taken for whom; JSON says the same, with the keys that it always had."""
    ran = dbp("evaluate", "a-1", "table.csv")
    assert (ran.code, ran.err) == (0, "")
    found = dbp("evaluate", "a-1", "table.csv", "--json").json
    assert list(found)[:2] == ["rows", "accuracy"]
    assert {"log_loss", "rms", "balanced_accuracy", "f1_macro", "f1_weighted", "roc_auc"} < set(found)
    first, classes, matrix = (part.splitlines() for part in ran.out.split("\n\n"))
    told = dict(line.rsplit(None, 1) for line in first)
    assert (told["rows"], told["accuracy"]) == ("60", f"{found['accuracy']:.6g}")
    assert told["ROC AUC"] == f"{found['roc_auc']:.6g}"
    assert classes[0].split() == ["class", "support", "precision", "recall", "F1", "ROC", "AUC"]
    assert [line.split()[0] for line in classes[1:]] == ["high", "low"] == [each["label"] for each in found["classes"]]
    assert [list(map(int, line.split()[1:])) for line in matrix[1:]] == found["confusion"]
    assert sum(map(sum, found["confusion"])) == 60


def test_weights_and_pictures(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """A weight of 2 is a row twice; pictures are PNG files in a folder that is made, and JSON names them."""
    lines = (tmp_path / "table.csv").read_text().splitlines()
    twice = [1 + (row % 3 == 0) for row in range(60)]
    weighted = [f"{line},{n}" for line, n in zip(lines, ["w", *twice], strict=True)]
    (tmp_path / "weighted.csv").write_text("\n".join(weighted) + "\n")
    repeated = [line for line, n in zip(lines[1:], twice, strict=True) for _ in range(n)]
    (tmp_path / "repeated.csv").write_text("\n".join([lines[0], *repeated]) + "\n")
    one = dbp("evaluate", "a-1", "weighted.csv", "--weight", "w", "--json", "--pictures", "new/pictures").json
    other = dbp("evaluate", "a-1", "repeated.csv", "--json").json
    assert (one["rows"], one["weight"], other["rows"]) == (60, sum(twice), len(repeated))
    for name in ("accuracy", "log_loss", "roc_auc", "rms", "f1_macro", "calibration_error"):
        assert one[name] == pytest.approx(other[name], rel=1e-12)
    assert one["pictures"] == ["new/pictures/confusion.png", "new/pictures/calibration.png"]
    assert "pictures" not in other
    for picture in one["pictures"]:
        assert imread(tmp_path / picture).std() > 0.05


def test_places_for_pictures(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """A file or a URI: refused before anything is computed."""
    for folder, words in (("table.csv", "is a file; expected a folder"), ("s3://b/x", "is a URI; expected a folder")):
        ran = dbp("evaluate", "a-1", "nothing.csv", "--pictures", folder)
        assert (ran.code, words in ran.err) == (2, True)


@pytest.mark.long
def test_workers_say_the_same(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """Both commands with a Ray of their own: the same standard output, byte for byte."""
    for command in (("predict", "a-1", "table.csv"), ("evaluate", "a-1", "table.csv", "--json")):
        alone, together = dbp(*command), dbp(*command, "--workers", "2")
        assert (together.code, together.err) == (0, "")
        assert together.out == alone.out
    refused = dbp("evaluate", "a-1", "table.csv", "--address", "10.0.0.1:6379")
    assert (refused.code, "--workers N" in refused.err) == (2, True)


def numbers(targets: int, rows: int, off: float = 1e3) -> Evaluation:
    random = np.random.default_rng(0)
    true = random.standard_normal((rows, targets)) * 1e5
    meter = NumberMeter([f"target {k} $x_1$\n" for k in range(targets)], np.ones(targets), rows, False)
    totals = meter.totals()
    totals.add(meter.part(true + off, true, None, 0, lambda values: values.astype(np.float64)))
    return totals.result()


def classes(count: int, rows: int = 500) -> Evaluation:
    random = np.random.default_rng(0)
    true = random.integers(0, count, rows).astype(np.int32)
    outputs = random.standard_normal((rows, count)) + 3 * (true[:, None] == np.arange(count))
    meter = ClassMeter([f"a class called {k} $" for k in range(count)], count, "cross_entropy", rows, False)
    totals = meter.totals()
    totals.add(meter.part(outputs, true, None, 0))
    return totals.result()


def labels(count: int, rows: int = 300) -> Evaluation:
    random = np.random.default_rng(0)
    true = random.integers(0, 2, (rows, count)).astype(float)
    true[:, 0] = 0  # a label that no row has: its recall is no number
    outputs = random.standard_normal((rows, count)) + 2 * true - 1
    pairs = [("no", f"the class {k} $x_1$\n") for k in range(count)]
    meter = LabelMeter([f"target {k} $" for k in range(count)], pairs, rows, False)
    totals = meter.totals()
    totals.add(meter.part(outputs, true, None, 0))
    return totals.result()


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: numbers(1, 50), ["residuals"]),
        (lambda: numbers(8, 5000), ["residuals"]),
        (lambda: numbers(1, 1), ["residuals"]),
        (lambda: numbers(1, 30, 0.0), ["residuals"]),
        (lambda: classes(3), ["confusion", "calibration"]),
        (lambda: classes(15), ["confusion", "calibration"]),
        (lambda: classes(80), ["confusion", "calibration"]),
        (lambda: labels(3), ["labels"]),
        (lambda: labels(70), ["labels"]),
    ],
    ids=[
        *("numbers", "many targets", "one row", "no errors", "classes", "a dozen classes", "many classes"),
        *("labels", "many labels"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_pictures_of_many_things(make: Callable[[], Evaluation], names: list[str], tmp_path: Path) -> None:
    """However many there are, and whatever they are called: no formulas, no warnings, no overlong picture."""
    files = draw_pictures(make(), tmp_path, "a model on a table")
    assert [file.stem for file in files] == names
    for file in files:
        picture = imread(file)
        assert picture.std() > 0.05
        assert max(picture.shape) < 4000


def test_many_classes_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """What does not fit is left out, and that is told."""
    from dbp.cli.measures import show

    show(classes(15), Output())
    wide = capsys.readouterr()
    assert len(wide.out.splitlines()) == 9 + 2 + 15
    assert "15 classes; --json and --pictures have the confusion matrix" in wide.err
    show(classes(80), Output())
    assert "80 classes; --json has the measures of each" in capsys.readouterr().err


def test_several_targets_have_lines_of_their_own(dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    """Each with its measures; JSON has no NaN: what has no value is null."""
    several = ("--set", "task=regression", "--set", "data.target=[c, b]", "--set", "data.features=[a]")
    assert dbp("run", job_file, "--id", "two", "-q", *several, "--set", "optimizer.learning_rate=0.1").code == 0
    lines = dbp("evaluate", "two", "table.csv").out.splitlines()
    assert lines[-3].split()[:2] == ["target", "RMS"]
    assert [line.split()[0] for line in lines[-2:]] == ["c", "b"]
    pq.write_table(pa.table({"a": [0.1, 0.2], "b": [1.0, 1.0], "c": [0.0, 1.0]}), tmp_path / "constant.parquet")
    ran = dbp("evaluate", "two", "constant.parquet", "--json")
    assert [each["r2"] is None for each in ran.json["targets"]] == [False, True]
    assert json.loads(ran.out)["rows"] == 2


def test_labels_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe: the measures of all, then a line for each label; of many labels --json alone says it."""
    show(labels(3), Output(json=False))
    first, lines = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    assert any(line.startswith("accuracy (all labels right)") for line in first)
    assert lines[0].split()[:4] == ["target", "label", "support", "precision"]
    assert len(lines) == 4
    assert " - " in lines[1]  # the recall of a label that no row has
    show(labels(60), Output(json=False))
    assert "60 labels; --json has the measures of each" in capsys.readouterr().err
