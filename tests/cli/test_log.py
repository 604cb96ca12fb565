"""`--log` of run and resume."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

Dbp = Callable[..., Any]


def test_run_and_resume_log_to_several_places(dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    """A CSV file with each step once, and event files."""
    logs = ("--log", "csv:m.csv", "--log", "tensorboard:events")
    first = dbp("run", job_file, "--id", "a-1", *logs, "--quiet")
    assert (first.code, first.err) == (0, "")
    more = dbp("resume", "a-1", *logs, "--quiet", "--set", "training.max_steps=22")
    assert (more.code, more.err) == (0, "")
    rows = list(csv.DictReader((tmp_path / "m.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(1, 23))
    assert len(list((tmp_path / "events" / "a-1").glob("events.out.tfevents.*"))) == 2


def test_a_log_that_cannot_be_is_bad_input(dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    """One line, and nothing was trained."""
    ran = dbp("run", job_file, "--log", "csv:table.csv")
    assert ran.code == 2
    assert ran.err.startswith("error: table.csv: is there already and no file of this logger")
    assert not (tmp_path / "runs").exists()
