"""The keys of a job's start (`network.initializer`, `network.start_from`) and of its end (`stopping`)."""

from __future__ import annotations

from typing import Any

import pytest

from dbp.errors import JobFileError
from dbp.jobs.job import Job
from dbp.jobs.manual import EXAMPLE

MINIMAL: dict[str, Any] = {
    "name": "m",
    "data": {"train": "/d/t.csv", "target": "y"},
    "task": "regression",
    "network": {"hidden": []},
    "optimizer": {"name": "gradient_descent", "learning_rate": 1},
}

# fmt: off
ONE_MISTAKE: list[tuple[str, Any, str]] = [
    ("network.initializer", "zeros", 'network.initializer: "zeros" is not known; expected one of: glorot, he, lecun, uniform'),
    ("network.initializer", "uniform", "network.initializer_range: missing; expected a number with initializer: uniform"),
    ("network.initializer_range", 0.5, "network.initializer_range: 0.5 is not used by initializer glorot; expected it with"),
    ("network.initializer_range", 0, "network.initializer_range: 0 is not allowed; expected a number from 1e-06 to 1,000,000, or"),
    ("network.start_from", "", 'network.start_from: "" is not allowed; expected a path, or null'),
    ("network.start_sha256", "0" * 64, "network.start_sha256: names a model, but start_from names no file; expected both"),
    ("network.start_sha256", "abc", 'network.start_sha256: "abc" is not allowed; expected 64 digits of 0-9 and a-f, or null'),
    ("stopping.patience", 0, "stopping.patience: 0 is not allowed; expected a whole number of at least 1, or null"),
    ("stopping.patience", 3, "stopping.patience: 3 needs validation rows to measure on; expected data.validation, a share"),
    ("stopping.keep", "best", "stopping.keep: best needs validation rows to measure on; expected data.validation"),
    ("stopping.keep", "first", 'stopping.keep: "first" is not known; expected one of: best, last, or null'),
    ("stopping.gradient_tolerance", 0, "stopping.gradient_tolerance: 0 is not allowed; expected a number greater than 0, or null"),
    ("stopping.loss_change", 1, "stopping.loss_change: 1 is not allowed; expected a number greater than 0 and less than 1"),
    ("stopping.loss_change_steps", 0, "stopping.loss_change_steps: 0 is not allowed; expected a whole number from 1 to 100,000"),
    ("stopping.max_seconds", -5, "stopping.max_seconds: -5 is not allowed; expected a number greater than 0, or null"),
    ("stopping.max_seconds", "1h", 'stopping.max_seconds: "1h" is not a number greater than 0, or null'),
    ("stopping.target_loss", float("-inf"), "stopping.target_loss: -.inf is not allowed; expected a number, or null, and finite"),
    ("stopping.min_improvement", -1, "stopping.min_improvement: -1 is not allowed; expected a number of at least 0"),
    ("patience", 5, 'patience: unknown key; did you mean "stopping.patience"?'),
]
# fmt: on


@pytest.mark.parametrize(("path", "value", "message"), ONE_MISTAKE, ids=range(len(ONE_MISTAKE)))
def test_one_mistake_gives_one_problem_in_plain_words(path: str, value: Any, message: str) -> None:
    """Where, what was seen, what is expected."""
    section, _, key = path.rpartition(".")
    values = {**MINIMAL, section: {**MINIMAL.get(section, {}), key: value}} if section else {**MINIMAL, key: value}
    with pytest.raises(JobFileError) as caught:
        Job.from_values(values)
    (problem,) = caught.value.problems
    assert str(problem).startswith(message)


@pytest.mark.parametrize(
    ("stopping", "best"),
    [({}, False), ({"patience": 3}, True), ({"patience": 3, "keep": "last"}, False), ({"keep": "best"}, True)],
)
def test_the_best_parameters_are_kept_with_patience_unless_one_says_otherwise(
    stopping: dict[str, Any], best: bool
) -> None:
    data = {**MINIMAL["data"], "validation": 0.5}
    assert Job.from_values({**MINIMAL, "data": data, "stopping": stopping}).stopping.keeps_best is best


def test_the_model_to_start_from_lies_beside_the_job_file() -> None:
    """Its path counts for nothing; its content does."""
    text = EXAMPLE.replace("hidden: [64, 32]", "hidden: [64, 32]\n  start_from: m.safetensors")
    job = Job.from_text(text, folder="/jobs")
    assert job.network.start_from == "/jobs/m.safetensors"
    assert job.fingerprint() == Job.from_text(EXAMPLE).fingerprint()
    assert job.starting_from("0" * 64).fingerprint() != job.fingerprint()
    with pytest.raises(JobFileError, match=r"network\.initializer: he is not used with start_from; expected one or"):
        Job.from_text(text, overrides=["network.initializer=he"])
