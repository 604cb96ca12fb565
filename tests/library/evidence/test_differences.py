"""Two jobs side by side: what differs, whether it can matter, and the first step with other bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_jobs import small_job, write_table

import dbp
from dbp.errors import JobDirectoryError
from dbp.evidence.differences import compare
from dbp.jobs.directory import JobDirectory

Train = Callable[..., JobDirectory]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    def run(job_id: str, *overrides: str) -> JobDirectory:
        job = small_job(tmp_path, "training.max_steps=9", *overrides)
        return JobDirectory.open(dbp.train(job, job_id=job_id).directory)

    return run


def edit_line(directory: JobDirectory, step: int, **changes: object) -> None:
    lines = [json.loads(line) for line in directory.metrics_file.read_text().splitlines()]
    lines[step - 1] |= changes
    directory.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_changes_no_bit_is_shown_and_cannot_matter(train: Train) -> None:
    found = compare(train("a"), train("b", "name=other", "checkpoint.keep=1", "service.restarts=0"))
    assert found.identical
    assert {(each.what, each.weight) for each in found.differences} == {
        ("name", "cannot matter"),
        ("checkpoint.keep", "cannot matter"),
        ("service.restarts", "cannot matter"),
    }
    assert found.verdict() == "the same bits in all 9 steps that both have"
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["identical"] is True


@pytest.mark.parametrize(
    ("override", "key", "step"),
    [
        ("training.seed=1", "training.seed", 1),
        ("optimizer.momentum=0.8", "optimizer.momentum", 2),  # the first step has no momentum yet
        ("training.precision=float32", "training.precision", 1),
        ("optimizer={name: lbfgs}", "optimizer.name", 1),
        ("network.activation=[relu]", "network.activation", 1),
    ],
)
def test_a_key_that_decides_is_the_cause(train: Train, override: str, key: str, step: int) -> None:
    found = compare(train("a"), train("b", override))
    assert not found.identical
    assert found.parting is not None
    assert (found.parting.step, found.parting.by) == (step, "digest")
    assert key in [each.what for each in found.causes]
    assert key in found.verdict()


def test_another_spelling_of_one_network_decides_nothing(train: Train) -> None:
    found = compare(train("a"), train("b", "network.activation=[tanh]"))
    assert found.identical
    assert [(each.what, each.weight) for each in found.differences] == [("network.activation", "cannot matter")]


def test_more_steps_are_the_same_bits_and_yet_not_the_same(train: Train) -> None:
    found = compare(train("a"), train("b", "training.max_steps=12"))
    assert (found.identical, found.parting, found.common) == (False, None, 9)
    assert [(each.what, each.weight) for each in found.differences] == [("training.max_steps", "length only")]
    assert "one ends at step 9, the other at step 12" in found.verdict()


def test_other_data_is_the_cause(train: Train, tmp_path: Path) -> None:
    first = train("a")
    write_table(tmp_path / "table.csv", seed=3)
    found = compare(first, train("b"))
    assert found.parting is not None
    assert [each.what for each in found.causes] == ["data_fingerprint"]
    assert found.parting.losses[0] != found.parting.losses[1]


def test_another_kernel_or_version_is_the_cause_of_other_bits(train: Train) -> None:
    first, second = train("a"), train("b")
    facts = json.loads(second.environment_file.read_text())
    facts["versions"]["numpy"] = "0.9"
    facts["host"] = "elsewhere"
    second.environment_file.write_text(json.dumps(facts))
    assert compare(first, second).identical
    edit_line(second, 5, digest="0123456789abcdef")
    found = compare(first, second)
    assert found.parting is not None
    assert found.parting.step == 5
    assert [each.what for each in found.causes] == ["versions.numpy"]
    assert ("host", "cannot matter") in {(each.what, each.weight) for each in found.differences}
    facts["kernel_fingerprint"] = "0" * 16
    second.environment_file.write_text(json.dumps(facts))
    assert [each.what for each in compare(first, second).causes] == ["kernel_fingerprint"]


def test_other_bits_without_a_cause_are_told_as_such(train: Train) -> None:
    first, second = train("a"), train("b")
    edit_line(second, 4, digest="0123456789abcdef")
    found = compare(first, second)
    assert found.causes == ()
    assert "step 4, and nothing that was recorded explains it" in found.verdict()


def test_without_digests_losses_are_compared(train: Train) -> None:
    first, second = train("a"), train("b")
    for step in range(1, 10):
        edit_line(second, step, digest=None)
    assert compare(first, second).identical
    edit_line(second, 6, loss=0.25)
    parting = compare(first, second).parting
    assert parting is not None
    assert (parting.step, parting.by, parting.losses[1]) == (6, "loss", 0.25)


def test_what_cannot_be_compared_is_refused(train: Train) -> None:
    many = train("many", "training.restarts=2")
    with pytest.raises(JobDirectoryError, match=r"stands for several runs; name one of them, such as .*members/001"):
        compare(many, many)
    first = train("a")
    assert compare(first, many.member(1)).identical
    first.environment_file.write_text("[")
    with pytest.raises(JobDirectoryError, match=r"environment.json: expected JSON"):
        compare(first, many.member(1))
