"""`dbp init`: the file it writes is a whole and valid job."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from dbp.jobs.job import Job, job_schema
from dbp.optimizers.registry import METHODS

Dbp = Callable[..., Any]


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_the_file_is_a_valid_job(dbp: Dbp, tmp_path: Path, task: str) -> None:
    """dbp reads what dbp wrote, and the job is of the task asked for."""
    ran = dbp("init", "--task", task)
    assert (ran.code, ran.out) == (0, "job.yaml\n")
    job = Job.from_file(tmp_path / "job.yaml")
    assert job.task == task
    losses = {"classification": "cross_entropy", "multilabel": "binary_cross_entropy", "regression": "squared_error"}
    assert job.loss == losses[task]


def plain(default: object) -> object:
    return default.model_dump() if isinstance(default, BaseModel) else default


def test_the_file_has_every_key_at_its_default(dbp: Dbp, tmp_path: Path) -> None:
    """A key added to the job must be added to the file; values are the defaults, where there is one."""
    dbp("init")
    written = yaml.safe_load((tmp_path / "job.yaml").read_text())
    missing, differing = [], []
    for name, field in Job.model_fields.items():
        section = METHODS[written["optimizer"]["name"]] if name == "optimizer" else field.annotation
        inner = getattr(section, "model_fields", None)
        for key, option in (inner or {name: field}).items():
            where = written.get(name, {}) if inner else written
            if key not in where:
                missing.append(f"{name}.{key}")
            elif not option.is_required() and key not in ("loss", "validation") and where[key] != plain(option.default):
                differing.append(f"{name}.{key}")
    assert (missing, differing) == ([], [])
    assert set(written) == set(job_schema()["properties"])


def test_every_key_has_a_comment(dbp: Dbp, tmp_path: Path) -> None:
    """But for the sections, whose keys are below them."""
    dbp("init")
    lines = [line for line in (tmp_path / "job.yaml").read_text().splitlines() if line and not line.startswith("#")]
    bare = [line.split(":")[0].strip() for line in lines if "#" not in line]
    assert bare == ["data", "network", "optimizer", "training", "stopping", "checkpoint", "service"]


def test_init_never_overwrites(dbp: Dbp, tmp_path: Path) -> None:
    """A second init is refused and changes nothing; --force replaces."""
    (tmp_path / "job.yaml").write_text("mine")
    ran = dbp("init")
    assert (ran.code, ran.out) == (2, "")
    assert "exists already" in ran.err
    assert (tmp_path / "job.yaml").read_text() == "mine"
    assert dbp("init", "--force").code == 0
    assert "gradient_descent" in (tmp_path / "job.yaml").read_text()


@pytest.mark.parametrize(
    ("target", "file", "name"),
    [
        ("digits", "digits/job.yaml", "digits"),
        ("a/b/other.yml", "a/b/other.yml", "other"),
        ("2026", "2026/job.yaml", "job-2026"),
        ("null", "null/job.yaml", "job-null"),
        ("größe & co", "größe & co/job.yaml", "gr-e-co"),
        ("-x- \n# y: 1", "-x- \n# y: 1/job.yaml", "x--y-1"),
    ],
)
def test_the_job_is_named_like_its_folder_or_file(dbp: Dbp, tmp_path: Path, target: str, file: str, name: str) -> None:
    """Whatever the folder is called, the file is a valid job."""
    ran = dbp("init", "--", target)
    assert ran.code == 0, ran.err
    assert Job.from_file(tmp_path / file).name == name


def test_init_where_nothing_can_be_written(dbp: Dbp, tmp_path: Path) -> None:
    """A file in the way of the folder: exit code 2, no traceback."""
    (tmp_path / "taken").write_text("")
    ran = dbp("init", f"taken{os.sep}job.yaml")
    assert ran.code == 2
    assert ran.err.startswith("error: taken: cannot be made")
