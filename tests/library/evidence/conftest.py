"""A trained job, once: each test has a copy that it may damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_jobs import small_job

import dbp
from dbp.jobs.directory import JobDirectory


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    dbp.train(small_job(folder, "training.max_steps=30", "stopping.patience=100"), job_id="a")
    return folder


@pytest.fixture
def trained(_trained_once: Path, tmp_path: Path) -> JobDirectory:
    """The directory of a job of 30 steps with checkpoints of steps 21, 28 and 30 (every 7th and the last; 3 are kept).

    Its table is tmp_path/table.csv, and the job file names it.
    """
    shutil.copytree(_trained_once, tmp_path, dirs_exist_ok=True)
    directory = JobDirectory(tmp_path / "runs" / "a")
    directory.job_file.write_text(directory.job_file.read_text().replace(str(_trained_once), str(tmp_path)))
    return directory
