"""Reports of real jobs: read as a browser reads them."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from small_jobs import small_job

import dbp
from dbp.jobs.directory import JobDirectory
from dbp.reports.facts import Facts
from dbp.reports.page import SECTIONS, page
from dbp.workers.report import gather

VOID = {"meta", "br", "input"}
HOSTILE = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e"


class Page(HTMLParser):
    """A page taken apart; fails where elements are not closed as they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: dict[str, str] = {}  # by section
        self.section = ""
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        facts = {key: value or "" for key, value in attributes}
        assert len(facts) == len(attributes)
        self.elements.append((name, facts))
        if name == "section":
            self.section = facts["id"]
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            (self.scripts if self.open[-1] == "script" else self.styles).append(data)
        self.words[self.section] = self.words.get(self.section, "") + data


def checked(text: str) -> Page:
    """Take a page apart; nothing in it loads anything, or runs but what its policy names."""
    found = Page(text)
    assert [name for name, _ in found.elements].count("script") == 1
    assert not {name for name, _ in found.elements} & {
        "img",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "form",
        "use",
        "image",
    }
    for name, attributes in found.elements:
        assert not [
            key for key in attributes if key.startswith("on") or key in ("style", "src", "srcset", "srcdoc", "action")
        ], name
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"@import|url\(", found.styles[0])
    assert not re.search(r"fetch|XMLHttp|WebSocket|import|eval|innerHTML", found.scripts[0])
    policy = next(
        facts["content"] for _, facts in found.elements if facts.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';")
    for kind, text_ in (("style", found.styles[0]), ("script", found.scripts[0])):
        digest = base64.b64encode(hashlib.sha256(text_.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    return found


def report(directory: object, rows: int = 2000) -> tuple[Facts, Page]:
    facts = gather(JobDirectory.open(str(directory)), rows)
    return facts, checked(page(facts))


def classes_job(folder: Path, *overrides: str, names: tuple[str, str, str] = ("p", "q", "r")) -> dbp.Job:
    """A job of three classes."""
    draw = np.random.default_rng(4)
    with (folder / "classes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["a", "b", "c"])
        for row in range(90):
            a, b = draw.standard_normal(2)
            table.writerow([a + 2 * (row % 3), b, names[row % 3]])
    text = """\
name: classes
data: {train: classes.csv, validation: 0.3, target: c}
task: classification
network: {hidden: [6, 30]}
optimizer: {name: gradient_descent, learning_rate: 0.2}
training: {max_steps: 9}
workers: 0
checkpoint: {every: 4}
"""
    return dbp.Job.from_text(text, folder=folder, overrides=[f"storage={folder / 'runs'}", *overrides])


def test_a_regression(tmp_path: Path) -> None:
    """All sections, the numbers of the job, and the error signal at the start, each checkpoint and the end."""
    job = small_job(tmp_path, "training.max_steps=15")
    result = dbp.train(job, job_id="a-1")
    facts, found = report(result.directory)
    assert [attributes["id"] for name, attributes in found.elements if name == "section"] == [
        name for name, _, _ in SECTIONS if name != "runs"
    ]
    assert result.summary.parameters_sha256 in found.words["summary"]
    assert result.summary.parameters_sha256 in found.words["checksums"]
    assert (
        hashlib.sha256((Path(result.directory) / "model.safetensors").read_bytes()).hexdigest()
        in found.words["checksums"]
    )
    assert [each.label for each in facts.snapshots] == ["start", "step 7", "step 14", "step 15 (model)"]
    assert "28 training rows, 12 validation rows" in found.words["data"]
    assert "RMS error" in found.words["outcome"]
    assert facts.notes == {}
    measured = result.summary.validation
    assert measured is not None
    known, predicted = facts.outcome.residuals[0].known, facts.outcome.residuals[0].predicted  # type: ignore[union-attr]
    assert np.sqrt(np.mean((known - predicted) ** 2)) == pytest.approx(measured["rms"], rel=1e-9)


def test_the_error_signal_is_that_of_the_library(tmp_path: Path) -> None:
    """At the model's parameters, over all training rows."""
    job = small_job(tmp_path, "training.max_steps=3", "data.validation=null")
    result = dbp.train(job)
    facts, _ = report(result.directory)
    import pyarrow.csv

    table = pyarrow.csv.read_csv(job.data.train)
    model = result.model
    inputs = model.encoding.encode_features(table, model.parameters.dtype)
    targets = model.encoding.encode_targets(table, model.parameters.dtype)
    signals = dbp.error_signals(model.network, model.parameters, inputs, targets, "squared_error")
    for layer, signal in zip(facts.snapshots[-1].layers, signals, strict=True):
        assert layer == pytest.approx(np.sqrt((signal**2).mean(axis=0)), rel=1e-12)


def test_classes_have_a_confusion_matrix_and_large_layers_are_abridged(tmp_path: Path) -> None:
    """Rows of the matrix add up to the validation rows; how many neurons are drawn is said. Rows are bounded, and that is said."""
    result = dbp.train(classes_job(tmp_path))
    facts, found = report(result.directory, rows=40)
    assert facts.outcome is not None
    assert facts.outcome.confusion is not None
    assert facts.outcome.confusion.counts.sum() == facts.outcome.rows == 27
    right = np.trace(facts.outcome.confusion.counts) / 27
    assert right == pytest.approx(result.summary.validation["accuracy"])  # type: ignore[index]
    assert "12 of 30 neurons of layer 2" in found.words["network"]
    assert "40 training rows (of 63, spread evenly)" in found.words["signals"]
    assert sum(name == "circle" for name, _ in found.elements) > 2 * (2 + 6 + 12 + 3)


def test_several_outputs_and_two_classes_by_one_output(tmp_path: Path) -> None:
    """A scatter for each target; a network of one output for two classes."""
    several = dbp.train(small_job(tmp_path, "data.target=[y, b]", "data.features=[a]", "training.max_steps=2"))
    facts, found = report(several.directory)
    assert [each.target for each in facts.outcome.residuals] == ["y", "b"]  # type: ignore[union-attr]
    two = classes_job(tmp_path, "network.outputs=1", "training.max_steps=2", names=("p", "q", "q"))
    facts, found = report(dbp.train(two).directory)
    assert facts.outcome.confusion.counts.shape == (2, 2)  # type: ignore[union-attr]
    assert "q" in found.words["network"]


def test_a_failed_job(tmp_path: Path) -> None:
    """No model and no checkpoint: the error signal at the start is there all the same, and what is not there is said."""
    job = small_job(tmp_path, "optimizer.learning_rate=1e300", "optimizer.momentum=0", "data.standardize=false")
    with pytest.raises(dbp.JobFailedError):
        dbp.train(job, job_id="a")
    for file in (tmp_path / "runs/a/checkpoints").glob("*"):
        file.unlink()
    facts, found = report(tmp_path / "runs/a")
    assert facts.view.state == "FAILED"
    assert facts.model is None
    assert [each.label for each in facts.snapshots] == ["start"]
    assert "There is no model yet" in found.words["outcome"]
    assert "FAILED" in found.words["warnings"]


def test_a_sweep(tmp_path: Path) -> None:
    """A table of the runs, the best first and marked; no link leads anywhere."""
    job = small_job(
        tmp_path, "training.max_steps=2", "network.hidden=[2]", "sweep={optimizer.learning_rate: [0.01, 0.2]}"
    )
    result = dbp.train(job)
    facts, found = report(result.directory)
    assert len(facts.members) == 2
    assert f"{result.summary.best} (best)" in found.words["runs"]
    assert "its runs have them" in found.words["curves"]
    assert [each.label for each in facts.snapshots] == ["model"]
    _, member = report(Path(result.directory) / "members/001")
    assert "runs" not in member.words


def test_a_table_that_is_gone_or_another(tmp_path: Path) -> None:
    """The rest of the page is there; nothing is computed of other rows than the job's."""
    job = small_job(tmp_path, "training.max_steps=2")
    result = dbp.train(job)
    table = Path(job.data.train)
    table.write_text(table.read_text() + "1,2,x,3\n")
    facts, found = report(result.directory)
    for section in ("signals", "outcome", "data"):
        assert "The table has changed since the job was trained" in found.words[section]
    table.unlink()
    facts, found = report(result.directory)
    assert "The table cannot be read now" in found.words["signals"]
    assert facts.snapshots == []
    assert "parameters" in found.words["network"]


def test_damaged_files_are_told(tmp_path: Path) -> None:
    """A checkpoint and a model with a flipped bit are left out, with a note each."""
    result = dbp.train(small_job(tmp_path, "training.max_steps=15"))
    home = Path(result.directory)
    for file in (home / "model.safetensors", home / "checkpoints/step-00000014.safetensors"):
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    facts, found = report(home)
    assert "The model cannot be used" in found.words["network"] or "cannot be used" in facts.notes["network"]
    assert "a checkpoint is left out" in facts.notes["checkpoints"]
    assert [each.label for each in facts.snapshots] == ["start", "step 7", "step 15"]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """Of columns, classes, folders, messages and warnings: none becomes markup."""
    folder = tmp_path / HOSTILE.replace("/", "_").replace("\u202e", "")[:80]
    folder.mkdir()
    job = classes_job(folder, names=(HOSTILE, HOSTILE + "2", "<b>x</b>"))
    table = Path(job.data.train)
    rows = list(csv.reader(table.open(newline="")))
    rows[0] = [HOSTILE, "<svg onload=alert(3)>", "c"]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    result = dbp.train(job)
    home = Path(result.directory)
    with (home / "log.txt").open("a") as log:
        log.write(f"2026-01-01 warning: {HOSTILE}\n")
    status = home / "status.json"
    status.write_text(status.read_text().replace("reached", "<i>reached</i><script>alert(4)</script>"))
    facts, found = report(home)
    names = [name for name, _ in found.elements]
    assert not {"i", "img"} & set(names)
    assert names.count("b") == sum(attributes.get("class") == "tile" for _, attributes in found.elements) + names.count(
        "figcaption"
    )
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert shown in found.words["data"]
    assert shown in found.words["warnings"]
    assert "<b>x</b>" in found.words["outcome"]
    assert "<script>alert(4)</script>" in found.words["summary"]
    assert "\u202e" not in page(facts)


def test_columns_that_become_several_inputs(tmp_path: Path) -> None:
    """Inputs have their own names in the drawing; classes and missing cells are counted."""
    rows = ["size,town,price", *(f"{'' if k % 10 == 3 else k},{('Ulm', 'Bonn')[k % 2]},{k % 7}" for k in range(60))]
    (tmp_path / "town.csv").write_text("\n".join(rows) + "\n")
    text = "name: town\ndata: {train: town.csv, target: price, impute: {size: mean}}\ntask: regression\nworkers: 0\n"
    changes = [f"storage={tmp_path / 'runs'}", "network.hidden=[3]", "training.max_steps=2", "optimizer={name: rprop}"]
    facts, found = report(dbp.train(dbp.Job.from_text(text, folder=tmp_path, overrides=changes)).directory)
    assert facts.data is not None
    (town,) = facts.data.categories
    assert (town.name, town.counts, town.missing) == ("town", (("Bonn", 30), ("Ulm", 30)), 0)
    size = next(column for column in facts.data.columns if column.name == "size")
    kept = [k for k in range(60) if k % 10 != 3]
    assert (size.mean, size.deviation) == pytest.approx((np.mean(kept), np.std(kept)))
    assert facts.weights is not None
    assert facts.weights.encoding is not None
    assert all(name[:12] in found.words["network"] for name in facts.weights.encoding.input_names)
