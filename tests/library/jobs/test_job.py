"""The job: the contract's file loads, every mistake is told, all at once."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dbp.errors import JobFileError
from dbp.jobs.job import Job
from dbp.network.activations import ACTIVATION_NAMES
from dbp.optimizers.registry import METHODS

CONTRACT = """\
name: digits
data:
  train: digits.parquet          # path or URI; a relative path starts at the job file; .parquet .csv .npz (arrays x, y)
  validation: 0.2                # a share held out (seeded, by row), or a path; optional
  target: label                  # a column, or a list of columns for several outputs
  features: null                 # default: every other column
  standardize: true
task: classification             # or regression
network:
  hidden: [64, 32]
  activation: tanh               # or one per hidden layer
loss: cross_entropy              # or squared_error (the derivation's); default by task
optimizer:
  name: gradient_descent         # fields depend on the name: a discriminated union
  learning_rate: 0.5
training:
  max_steps: 200
  batch: full                    # or a number of rows
  reduction: mean                # or sum: the derivation's own E, h applied to the sum
  seed: 0
  precision: float32
workers: 2                       # 0 = in this process
checkpoint: {every: 50, keep: 3}
storage: runs                    # a folder or URI; relative to where dbp is called; the job directory is made below it
"""

MINIMAL: dict[str, Any] = {
    "name": "m",
    "data": {"train": "/d/t.csv", "target": "y"},
    "task": "regression",
    "network": {"hidden": []},
    "optimizer": {"name": "gradient_descent", "learning_rate": 1},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(MINIMAL)
    *sections, key = path.split(".")
    target = values
    for section in sections:
        target = target.setdefault(section, {})
    target[key] = value
    return values


def problems_of(values: dict[str, Any]) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        Job.from_values(values)
    return [str(problem) for problem in caught.value.problems]


def test_the_contracts_file_loads_as_it_stands() -> None:
    job = Job.from_text(CONTRACT, folder="/jobs")
    assert job.data.train == "/jobs/digits.parquet"
    assert (job.data.validation, job.data.targets, job.data.features) == (0.2, ("label",), None)
    assert (job.network.hidden, job.network.activations) == ([64, 32], ("tanh", "tanh", "identity"))
    assert (job.loss, job.optimizer.learning_rate, job.training.max_steps) == ("cross_entropy", 0.5, 200)
    assert (job.workers, job.checkpoint.every, job.checkpoint.keep, job.storage) == (2, 50, 3, "runs")


def test_the_defaults() -> None:
    job = Job.from_values(MINIMAL)
    training = job.training
    assert (training.max_steps, training.batch, training.reduction, training.seed) == (200, "full", "mean", 0)
    assert (training.precision, training.validate_every, training.l2_penalty) == ("float32", 10, 0.0)
    assert (job.loss, job.workers, job.storage, job.checkpoint.every) == ("squared_error", 2, "runs", 50)
    assert (job.data.standardize, job.standardizes_target) == (True, True)
    assert Job.from_values(changed("task", "classification")).loss == "cross_entropy"
    assert not Job.from_values(changed("task", "classification")).standardizes_target
    assert not Job.from_values(changed("data.standardize", False)).standardizes_target


# fmt: off
ONE_MISTAKE: list[tuple[str, Any, str]] = [
    ("trainning", None, 'trainning: unknown key; did you mean "training"?'),
    ("learning_rate", 1, 'learning_rate: unknown key; did you mean "optimizer.learning_rate"?'),
    ("training.workers", 1, 'training.workers: unknown key; did you mean "workers"?'),
    ("network.zzz", 1, "network.zzz: unknown key; expected one of: hidden, activation, output_activation, outputs, init"),
    ("name", "a b", 'name: "a b" is not allowed; expected 1 to 63 letters, digits, dots, - or _, the first a letter or digit'),
    ("name", "a" * 64, f'name: "{"a" * 64}" is not allowed; expected 1 to 63 letters, digits, dots, - or _, the first'),
    ("name", "a\n", 'name: "a\\n" is not allowed'),
    ("name", "../x", 'name: "../x" is not allowed'),
    ("name", 12, "name: 12 is not text; expected 1 to 63 letters, digits, dots, - or _, the first a letter or digit (put it in"),
    ("workers", "two", 'workers: "two" is not a whole number from 0 to 1,024, or a section with the keys min, max, or a section'),
    (
        "workers",
        "2",
        'workers: "2" is not a whole number from 0 to 1,024, or a section with the keys min, max, or a section with the key '
        "threads (leave out the quotes)",
    ),
    ("workers", {"min": 3, "max": 2}, "workers: max is 2; expected at least min (3)"),
    ("workers", {"min": 0, "max": 2}, "workers.min: 0 is not allowed; expected a whole number from 1 to 1,024"),
    ("workers", {"min": 2}, "workers.max: missing; expected a whole number from 1 to 1,024"),
    ("workers", {"min": 2, "max": 4, "most": 5}, "workers.most: unknown key; expected one of: min, max, threads"),
    ("workers", {"threads": 0}, "workers.threads: 0 is not allowed; expected a whole number from 1 to 1,024"),
    ("workers", {"threads": 2, "max": 4}, "workers.max: unknown key; expected it without the other keys there, or those without"),
    ("workers", {"threads": 2, "most": 4}, "workers.most: unknown key; expected one of: min, max, threads"),
    ("workers", -1, "workers: -1 is not allowed; expected a whole number from 0 to 1,024"),
    ("workers", True, "workers: true is not a whole number"),
    ("workers", 2.0, "workers: 2.0 is not a whole number"),
    ("audit", 1.5, "audit: 1.5 is not allowed; expected a number from 0 to 1"),
    ("workers", 10**30, f"workers: {10**30} is not allowed"),
    ("optimizer.learning_rate", -0.1, "optimizer.learning_rate: -0.1 is not allowed; expected a number greater than 0"),
    ("optimizer.learning_rate", 0, "optimizer.learning_rate: 0 is not allowed; expected a number greater than 0"),
    ("optimizer.learning_rate", float("nan"), "optimizer.learning_rate: .nan is not allowed; expected a number greater than 0, "
    "and finite"),
    ("optimizer.learning_rate", float("inf"), "optimizer.learning_rate: .inf is not allowed"),
    ("optimizer.learning_rate", "0.1", 'optimizer.learning_rate: "0.1" is not a number; expected a number greater than 0 '
    "(leave out the quotes)"),
    ("optimizer.learning_rate", None, "optimizer.learning_rate: null is not a number"),
    ("optimizer.name", "gradient_decent", 'optimizer.name: "gradient_decent" is not known'),
    ("optimizer.momentum", 1.0, "optimizer.momentum: 1.0 is not allowed; expected a number of at least 0 and less than 1"),
    ("optimizer", {"name": "lbfsg"}, 'optimizer.name: "lbfsg" is not known; expected one of: gradient_descent, '),
    ("optimizer", {"name": "adamm"}, 'optimizer.name: "adamm" is not known; expected one of: gradient_descent, '),
    ("optimizer", {"name": "rprop", "momentum": 1}, "optimizer.momentum: unknown key; expected one of: name, first_step, "),
    ("optimizer", {"name": "adam", "beta_1": 1}, 'optimizer.beta_1: unknown key; did you mean "beta1"?'),
    ("optimizer", {"name": "adam", "beta1": 1}, "optimizer.beta1: 1 is not allowed; expected a number of at least 0 and less"),
    ("optimizer", {"name": "rprop", "first_step": 60}, "optimizer: first_step is 60.0; expected from smallest_step (1e-10) to"),
    ("optimizer", {"name": "lbfgs", "curvature": 1e-4}, "optimizer: curvature is 0.0001; expected more than sufficient_decre"),
    ("optimizer", {"name": "lbfgs", "memory": 0}, "optimizer.memory: 0 is not allowed; expected a whole number from 1 to 1,000"),
    ("optimizer", "adam", 'optimizer: "adam" is not a section with a name (one of: gradient_descent, '),
    ("optimizer.schedule", {"name": "cosin"}, 'optimizer.schedule.name: "cosin" is not known; expected one of: constant, step, '
    'cosine, inverse_time; did you mean "cosine"?'),
    ("optimizer.schedule", {"name": "cosine"}, "optimizer.schedule.steps: missing; expected a whole number of at least 1"),
    ("optimizer.schedule", {"name": "step", "every": 0}, "optimizer.schedule.every: 0 is not allowed; expected a whole number"),
    ("optimizer.schedule", {"name": "constant", "steps": 1}, "optimizer.schedule.steps: unknown key; expected one of: name"),
    ("optimizer.schedule", {"steps": 1}, "optimizer.schedule.name: missing; expected one of: constant, step"),
    ("optimizer.nesterov", True, "optimizer.nesterov: true, but there is no momentum; expected false, or optimizer.momentum"),
    ("network.hidden", [4, 0], "network.hidden[1]: 0 is not allowed; expected a whole number from 1 to 1,000,000"),
    ("network.hidden", 64, "network.hidden: 64 is not a list; expected a list (each item a whole number from 1 to 1,000,000)"),
    ("network.hidden", [1] * 1001, "network.hidden: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ...] is not allowed"),
    ("network.activation", "tanhh", 'network.activation: "tanhh" is not known; expected one of: identity, threshold, sigmoid, '
    "tanh, relu, softplus, leaky_relu"),
    ("network.activation", 3, "network.activation: 3 is not known; expected one of: identity"),
    ("network.outputs", 0, "network.outputs: 0 is not allowed; expected a whole number from 1 to 1,000,000, or null"),
    ("data.train", "", 'data.train: "" is not allowed; expected a path'),
    ("data.train", "a\0b", "data.train: holds a NUL character; expected a path"),
    ("data.target", [], "data.target: [] is not allowed; expected the name of a column, or a non-empty list"),
    ("data.target", [1], "data.target[0]: 1 is not text; expected the name of a column (put it in quotes to make it text)"),
    ("data.target", 1, "data.target: 1 is not the name of a column, or a non-empty list"),
    ("data.target", ["a", "b", "a"], 'data.target: column "a" is named twice; expected each column once'),
    ("data.features", ["a", "a"], 'data.features: column "a" is named twice; expected each column once'),
    ("data.features", ["a", "y"], 'data.features: column "y" is also the target; expected other columns'),
    ("data.features", [], "data.features: [] is not allowed; expected a non-empty list"),
    ("data.validation", 1, "data.validation: 1 is not allowed; expected a number greater than 0 and less than 1, or a path"),
    ("data.validation", 0.0, "data.validation: 0.0 is not allowed"),
    ("data.validation", [1], "data.validation: [1] is not a number greater than 0 and less than 1, or a path, or null"),
    ("data.standardize", "yes", 'data.standardize: "yes" is not true or false'),
    ("data.standardize", 1, "data.standardize: 1 is not true or false"),
    ("training.batch", "fulll", 'training.batch: "fulll" is not known; expected "full", or a whole number of at least 1; did you '
    'mean "full"?'),
    ("training.batch", 0, 'training.batch: 0 is not allowed; expected "full", or a whole number of at least 1'),
    ("training.batch", 2.5, "training.batch: 2.5 is not"),
    ("training.seed", 2**63, "training.seed: 9223372036854775808 is not allowed; expected a whole number from 0 to "
    "9,223,372,036,854,775,807"),
    ("training.l2_penalty", -1, "training.l2_penalty: -1 is not allowed; expected a number of at least 0"),
    ("training.max_steps", 1e3, "training.max_steps: 1000.0 is not a whole number"),
    ("training.reduction", "average", 'training.reduction: "average" is not known; expected one of: mean, sum'),
    ("checkpoint", 5, "checkpoint: 5 is not a section of keys; expected a section with the keys every, keep"),
    ("checkpoint.keep", 0, "checkpoint.keep: 0 is not allowed; expected a whole number of at least 1"),
    ("task", "classify", 'task: "classify" is not known; expected one of: classification, multilabel, regression; did you mean '
     '"classification"?'),
    ("loss", "cross_entropy", "loss: cross_entropy compares class probabilities; expected squared_error with task: regression"),
    ("network.outputs", 2, "network.outputs: 2 outputs for 1 target column; expected one per target column"),
    ("network.activation", ["tanh"], "network.activation: 1 activation for 0 hidden layers; expected one per hidden layer, or one"),
    ("network.activation", "threshold", 'network.activation: "threshold" cannot be trained: its derivative is zero, so '
    "backpropagation has nothing to go back through; it can be used forward only"),
    ("network.output_activation", "threshold", 'network.output_activation: "threshold" cannot be trained: its derivative is zero'),
    ("storage", "", 'storage: "" is not allowed; expected a path'),
    ("service.restarts", -1, "service.restarts: -1 is not allowed; expected a whole number from 0 to 1,000"),
    ("service.memory_per_worker", 0.5, "service.memory_per_worker: 0.5 is not a whole number of at least 1, or null"),
    ("service.resources", {"CPU": 2.0}, "service.resources: CPU: each worker has one CPU; expected other resources"),
    ("service.resources", {"memory": 1.0}, "service.resources: memory: has a key of its own; expected service.memory_per_worker"),
    ("service.resources", {"big": 1.5}, "service.resources: 1.5 of big: more than 1 is counted whole; expected 1 or 2"),
    ("service.resources", {"big": 0.0}, "service.resources.big: 0.0 is not allowed; expected a number greater than 0"),
]
# fmt: on


@pytest.mark.parametrize(("path", "value", "message"), ONE_MISTAKE, ids=range(len(ONE_MISTAKE)))
def test_one_mistake_gives_one_problem_in_plain_words(path: str, value: Any, message: str) -> None:
    """Where, what was seen, what is expected: nothing else, and nothing of pydantic."""
    found = problems_of(changed(path, value))
    assert len(found) == 1
    assert found[0].startswith(message)


def test_all_problems_are_told_at_once() -> None:
    """Problems of YAML, of single fields and between fields, and of an override, in one error that names the file."""
    text = (
        CONTRACT.replace("tanh ", "[relu, threshold, tanh] ")
        .replace("0.5", "-0.1")
        .replace("seed: 0", "seed: 1\n  seed: 2")
    )
    with pytest.raises(JobFileError) as caught:
        Job.from_text(text + "extra: 1\n", source="jobs/digits.yaml", overrides=["training.batch=0", "workers"])
    assert str(caught.value).splitlines() == [
        "jobs/digits.yaml: 7 problems",
        "  training.seed: given twice, on lines 20 and 21; expected once",
        '  --set: "workers" is not a setting; expected key=value, such as training.max_steps=50',
        "  optimizer.learning_rate: -0.1 is not allowed; expected a number greater than 0",
        '  training.batch: 0 is not allowed; expected "full", or a whole number of at least 1',
        "  extra: unknown key; expected one of: name, data, task, network, loss, huber_delta, optimizer, training, stopping, "
        "workers, "
        "audit, checkpoint, storage, service, sweep",
        "  network.activation: 3 activations for 2 hidden layers; expected one per hidden layer, or one name for all",
        '  network.activation[1]: "threshold" cannot be trained: its derivative is zero, so backpropagation has nothing to go '
        "back through; it can be used forward only; for a step that can be trained take sigmoid",
    ]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_batches_are_for_methods_that_do_not_compare_steps(name: str) -> None:
    values = changed("training", {"batch": 10})
    values["optimizer"] = {"name": name} | ({"learning_rate": 1} if name == "gradient_descent" else {})
    if name in ("gradient_descent", "adam", "adamw"):
        assert Job.from_values(values).training.batch == 10
    else:
        assert problems_of(values) == [
            f"training.batch: 10 rows per step cannot be used with {name}, which compares the objective from step to step; "
            "expected full, or an optimizer that takes batches (gradient_descent, adam, adamw)"
        ]


def test_the_learning_rate_of_a_sum_is_at_most_one() -> None:
    """0 < h <= 1, as the derivation has it."""
    values = changed("training", {"reduction": "sum"})
    assert Job.from_values(values).optimizer.learning_rate == 1
    values["optimizer"] = {"name": "gradient_descent", "learning_rate": 1.5}
    assert problems_of(values) == [
        "optimizer.learning_rate: 1.5 is too large for training.reduction: sum, where it multiplies the gradient of the sum "
        "over all rows; expected a number greater than 0 and at most 1"
    ]


def test_mistakes_between_fields_of_a_classification() -> None:
    values = {
        **MINIMAL,
        "task": "classification",
        "data": {**MINIMAL["data"], "target": ["a", "b"], "standardize_target": True},
    }
    values["network"] = {"hidden": [], "output_activation": "sigmoid"}
    assert problems_of(values) == [
        'network.output_activation: "sigmoid" cannot be combined with cross_entropy, whose softmax (or logistic function) is '
        "part of the loss; expected identity",
        "data.target: 2 columns (a, b); expected one with task: classification; several labels of two classes each are "
        "task: multilabel",
        "data.standardize_target: classes cannot be standardised; expected false with task: classification",
    ]
    assert Job.from_values(
        {**changed("network.output_activation", "sigmoid"), "task": "classification", "loss": "squared_error"}
    )


def test_mistakes_between_fields_of_a_multilabel_job() -> None:
    """Several labels: what the other tasks have and this one has not is refused by name."""
    data = {**MINIMAL["data"], "target": ["a", "b"]}
    values = {**MINIMAL, "task": "multilabel", "data": data, "network": {"hidden": []}}
    job = Job.from_values(values)
    assert (job.loss, job.standardizes_target) == ("binary_cross_entropy", False)
    refused = {
        "data.target": (
            {"data": {**data, "target": "a"}},
            "one column (a); expected two or more with task: multilabel",
        ),
        "data.standardize_target": ({"data": {**data, "standardize_target": True}}, "classes cannot be standardised"),
        "data.class_weights": ({"data": {**data, "class_weights": "balanced"}}, "a row has several labels"),
        "data.validation_split.stratify": (
            {"data": {**data, "validation": 0.2, "validation_split": {"stratify": True}}},
            "a row has several labels; expected group or time",
        ),
        "network.outputs": ({"network": {"hidden": [], "outputs": 3}}, "3 outputs for 2 target columns"),
        "network.output_activation": (
            {"network": {"hidden": [], "output_activation": "sigmoid"}},
            '"sigmoid" cannot be combined with binary_cross_entropy, whose logistic function is part of the loss',
        ),
        "loss": ({"loss": "squared_error"}, "squared_error is not of several labels; expected binary_cross_entropy"),
    }
    for key, (changes, words) in refused.items():
        (problem,) = problems_of({**values, **changes})
        assert problem.startswith(f"{key}: {words}"), problem
    (problem,) = problems_of({**values, "optimizer": {"name": "levenberg_marquardt"}})
    assert problem.startswith("loss: binary_cross_entropy cannot be used with levenberg_marquardt")
    (problem,) = problems_of({**MINIMAL, "task": "regression", "loss": "binary_cross_entropy"})
    assert problem.startswith("loss: binary_cross_entropy compares class probabilities; expected squared_error")
    (problem,) = problems_of({**MINIMAL, "task": "classification", "loss": "binary_cross_entropy"})
    assert problem.startswith("loss: binary_cross_entropy is of several labels; expected cross_entropy")


def test_missing_keys_say_what_belongs_there() -> None:
    found = problems_of({"optimizer": {}})
    assert found[:3] == [
        "name: missing; expected 1 to 63 letters, digits, dots, - or _, the first a letter or digit",
        "data: missing; expected a section with the keys train, validation, target, validation_split, features, "
        "drop, categories, rare_below, unknown, most_categories, dates, impute, missing_indicator, standardize, "
        "standardize_target, weight, class_weights, cache, compact",
        "task: missing; expected one of: classification, multilabel, regression",
    ]
    assert any(line.startswith("optimizer.name: missing; expected one of: gradient_descent, rprop") for line in found)
    assert problems_of(changed("optimizer", {"name": "gradient_descent"})) == [
        "optimizer.learning_rate: missing; expected a number greater than 0"
    ]


def test_thousands_of_problems_stay_readable_and_harmless() -> None:
    """At most about a hundred lines; control characters of keys and values never reach the terminal."""
    found = problems_of({**MINIMAL, **{f"k{i}": 1 for i in range(20_000)}})
    assert len(found) == 101
    assert found[-1] == "and 19,900 more problems"
    evil = problems_of({**changed("task", "\x1b]52;c;x\x07\u202e" + "y" * 500), "\x1b[31m": 1})
    assert all(line.isprintable() and len(line) < 300 for line in evil)


def test_overrides_replace_single_values() -> None:
    overrides = ["training.max_steps=50", "network.hidden=[3, 4]", "data.validation=", "name=a=b".replace("=b", "")]
    job = Job.from_text(CONTRACT, overrides=overrides)
    assert (job.training.max_steps, job.network.hidden, job.data.validation, job.name) == (50, [3, 4], None, "a")


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("training.max_stepz=5", 'training.max_stepz: unknown key; did you mean "max_steps"?'),
        ("trainin.seed=5", 'trainin: unknown key; did you mean "training"?'),
        ("task.x=1", "--set task.x: there are no keys below this one; expected task=..."),
        ("seed", '--set: "seed" is not a setting; expected key=value, such as training.max_steps=50'),
        ("a..b=1", '--set: "a..b=1" is not a setting'),
        ("workers=[", "--set workers: line 2, column 1: did not find expected node content"),
        ("workers=*x", "--set workers: line 1, column 1: aliases (*name) are not allowed"),
        ("workers=two", 'workers: "two" is not a whole number'),
        ("name=\udcff", "--set name: text that is not valid Unicode"),
    ],
)
def test_wrong_overrides_are_named(override: str, problem: str) -> None:
    with pytest.raises(JobFileError) as caught:
        Job.from_text(CONTRACT, overrides=[override])
    assert len(caught.value.problems) == 1
    assert str(caught.value.problems[0]).startswith(problem)


def test_data_paths_start_at_the_job_file_and_storage_at_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    text = CONTRACT.replace("validation: 0.2", "validation: ../data/v.csv").replace(
        "digits.parquet ", "s3://b/x.parquet "
    )
    (tmp_path / "jobs" / "j.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    job = Job.from_file("jobs/j.yaml")
    assert job.data.validation == str(tmp_path / "data" / "v.csv")
    assert job.data.train == "s3://b/x.parquet"
    assert job.storage == "runs"


def test_files_that_are_no_job_files(tmp_path: Path) -> None:
    """Each is refused with its name and its reason; none hangs."""
    contents = {
        "empty": (b"", "the file is empty; expected keys and values, such as `name: my-job`"),
        "comment": (b"# nothing\n", "the file is empty"),
        "list": (b"- a\n", "a list stands there; expected keys and values"),
        "word": (b"digits", 'only "digits" stands there'),
        "latin1": ("a: 1\nname: caf\xe9".encode("latin-1"), "line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        "utf16": ("name: a".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
        "large": (b"#" * 1_000_001, "larger than 1,000,000 bytes; is this a job file?"),
        "syntax": (b"name: a\ndata: {train\n", "line 3, column 1: did not find expected ',' or '}'"),
    }
    for name, (data, words) in contents.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(JobFileError) as caught:
            Job.from_file(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: 1 problem\n  {words}")
    os.mkfifo(tmp_path / "pipe")
    for name, words in {"none": "no such file", "": "a folder, not a file", "pipe": "not a regular file"}.items():
        with pytest.raises(JobFileError, match=words):
            Job.from_file(tmp_path / name)


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    (tmp_path / "j.yaml").write_bytes(b"\xef\xbb\xbf" + CONTRACT.replace("\n", "\r\n").encode())
    assert Job.from_file(tmp_path / "j.yaml") == Job.from_text(CONTRACT, folder=tmp_path)


columns = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable())
activations = st.sampled_from([name for name in ACTIVATION_NAMES if name != "threshold"])


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(columns, min_size=2, max_size=5, unique=True))
    hidden = draw(st.lists(st.integers(1, 10**6), max_size=4))
    single = draw(st.booleans())
    return {
        "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)),
        "data": {
            "train": draw(st.sampled_from(["a b.csv", "/x/ü.parquet", "1e5", "- x", "null"])),
            "validation": draw(st.none() | st.floats(0.001, 0.999) | st.sampled_from(["v.csv", "0.5", "~"])),
            "target": names[0] if single else names[:1],
            "features": draw(st.none() | st.just(names[1:])),
            "standardize": draw(st.booleans()),
        },
        "task": draw(st.sampled_from(["classification", "regression"])),
        "network": {
            "hidden": hidden,
            "activation": draw(activations) if single else [draw(activations) for _ in hidden],
        },
        "optimizer": {"name": "gradient_descent", "learning_rate": draw(st.floats(1e-30, 1e30))},
        "training": {"seed": draw(st.integers(0, 2**63 - 1)), "l2_penalty": draw(st.floats(0, 1e300))},
    }


@given(jobs())
@settings(max_examples=150, deadline=None)
def test_a_job_written_out_is_the_same_job(values: dict[str, Any]) -> None:
    """to_yaml has every key, reads back equal and with the same fingerprint, and other YAML readers agree with it."""
    job = Job.from_values(values)
    text = job.to_yaml()
    again = Job.from_text(text, folder="/elsewhere")
    assert again == job
    assert again.to_yaml() == text
    assert again.fingerprint() == job.fingerprint()
    assert yaml.safe_load(text) == job.model_dump()


SAME = [
    "name=other",
    "workers=7",
    "audit=0.5",
    "storage=x",
    "checkpoint.every=1",
    "checkpoint.keep=9",
    "data.train=z.csv",
    "data.cache=disk",
    "data.compact=true",
]
SAME += ["stopping.patience=3", "stopping.keep=best", "stopping.max_seconds=1", "stopping.loss_change=0.1"]
SAME += [
    "service={restarts: 9, memory_per_worker: 1000, resources: {big: 2}}",
    "training.max_steps=9",
    "optimizer.nesterov=false",
    "optimizer.schedule={name: constant}",
    "network.activation=[tanh, tanh]",
    "data.target=[label]",
    "data.standardize_target=false",
]
OTHER = ["data.validation=0.3", "data.validation=v.csv", "data.target=x", "data.features=[a]", "data.standardize=false"]
OTHER += [
    "network.hidden=[64]",
    "network.activation=relu",
    "network.outputs=10",
    "network.initializer=he",
    "loss=squared_error",
    "task=regression",
]
OTHER += ["optimizer.learning_rate=0.25", "optimizer.momentum=0.5", "training.batch=10", "training.reduction=sum"]
OTHER += ["optimizer.schedule={name: cosine, steps: 9}", "optimizer={name: adam}", "optimizer={name: rprop}"]
OTHER += ["training.seed=1", "training.precision=float64", "training.l2_penalty=0.1", "training.validate_every=3"]


def test_the_fingerprint_covers_what_changes_the_bits_and_nothing_else() -> None:
    """Every key of the job is in one of the two lists."""
    first = Job.from_text(CONTRACT).fingerprint()
    assert re.fullmatch("[0-9a-f]{64}", first)
    extra = {"task=regression": ["loss=squared_error"]}
    for override in SAME:
        assert Job.from_text(CONTRACT, overrides=[override]).fingerprint() == first, override
    for override in OTHER:
        overrides = [override, *extra.get(override, [])]
        assert Job.from_text(CONTRACT, overrides=overrides).fingerprint() != first, override
    sigmoid = ["loss=squared_error", "network.output_activation=sigmoid"]
    plain = Job.from_text(CONTRACT, overrides=sigmoid[:1]).fingerprint()
    assert Job.from_text(CONTRACT, overrides=sigmoid).fingerprint() != plain
    one, two = (Job.from_text(CONTRACT, overrides=[f"data.validation={name}.csv"]).fingerprint() for name in "ab")
    assert one == two


def test_a_job_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Job.from_values(MINIMAL).workers = 3  # type: ignore[misc]  # that it is refused is the claim
