"""The record of error signals: right as dbp leaves it, and each kind of damage is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_jobs import small_job

import dbp
from dbp.evidence.findings import Check
from dbp.evidence.verification import verify
from dbp.jobs.directory import JobDirectory
from dbp.workers.preparation import open_dataset

Lines = list[dict[str, Any]]


@pytest.fixture
def recorded(tmp_path: Path) -> JobDirectory:
    """Of a job of 9 steps, of which every second is recorded; the last three were made by a second attempt."""
    dbp.train(small_job(tmp_path, "training.max_steps=6", "training.signals_every=2"), job_id="a")
    dbp.resume(tmp_path / "runs" / "a", overrides=["training.max_steps=9"])
    return JobDirectory(tmp_path / "runs" / "a")


def signals(directory: JobDirectory) -> Check:
    report = verify(directory, lambda job: open_dataset(job).fingerprint())
    (check,) = (check for check in report.checks if check.name == "signals")
    return check


def change(directory: JobDirectory, edit: Callable[[Lines], Lines]) -> None:
    lines = [json.loads(line) for line in directory.signals_file.read_text().splitlines()]
    directory.signals_file.write_text("".join(json.dumps(line) + "\n" for line in edit(lines)))


def test_a_record_as_it_was_left_is_right(recorded: JobDirectory) -> None:
    check = signals(recorded)
    assert (check.outcome, check.says) == ("ok", "4 steps in signals.jsonl")


def test_who_asks_for_none_is_asked_for_none(tmp_path: Path) -> None:
    dbp.train(small_job(tmp_path, "training.max_steps=2"), job_id="a")
    report = verify(JobDirectory(tmp_path / "runs" / "a"), lambda job: open_dataset(job).fingerprint())
    assert "signals" not in [check.name for check in report.checks]


def _with(lines: Lines, place: int, **facts: object) -> Lines:
    return [*lines[:place], {**lines[place], **facts}, *lines[place + 1 :]]


DAMAGE: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "a line is gone": (
        lambda lines: lines[:-1],
        "step 8: expected a line for every step that 2 divides; found no line",
    ),
    "a step that was never made": (lambda lines: _with(lines, 3, step=10), "step 10: expected a step of metrics.jsonl"),
    "no number": (lambda lines: _with(lines, 1, layers=[[None]]), "step 4: expected layers of finite numbers"),
    "below 0": (lambda lines: _with(lines, 1, layers=[[-1.0]]), "step 4: expected layers of finite numbers"),
    "infinite": (lambda lines: _with(lines, 1, layers=[[10**400]]), "step 4: expected layers of finite numbers"),
    "no layers": (lambda lines: _with(lines, 1, layers=3), "step 4: expected layers of finite numbers"),
    "another network": (lambda lines: _with(lines, 1, layers=[[1.0]]), "step 4: expected layers of (2, 24, 1) neurons"),
    "a step with other numbers": (
        lambda lines: [*lines, {**lines[3], "rows": 1}],
        "step 8: expected the numbers of line 4; found others in line 5",
    ),
    "a step too often": (
        lambda lines: [*lines, lines[3], lines[3]],
        "step 8: expected one line for each attempt; found",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(damage: str, recorded: JobDirectory) -> None:
    edit, words = DAMAGE[damage]
    change(recorded, edit)
    assert any(f"signals.jsonl, {words}" in str(finding) for finding in signals(recorded).findings), signals(recorded)


def test_torn_lines_and_no_file(recorded: JobDirectory) -> None:
    """One may be torn by the kill that ended the first attempt; two are damage, and so is no file at all."""
    whole = recorded.signals_file.read_text()
    recorded.signals_file.write_text('{"step": 2, "ro\n' + whole)
    assert signals(recorded).outcome == "ok"
    recorded.signals_file.write_text('{"step": 2, "ro\n' * 2 + whole)
    assert "line 2, which cannot be read" in str(signals(recorded).findings[0])
    recorded.signals_file.unlink()
    assert "step 8: expected a line for every step" in str(signals(recorded).findings[0])
