"""The pages of tasks: their commands are run, one after the other, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dbp

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted((DOCS / "tasks").glob("*.md"))


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```sh task\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_there_is_a_page_per_task():
    assert {page.stem for page in PAGES} >= {
        "classification",
        "regression",
        "several-outputs",
        "imbalanced",
        "big-tables",
    }


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_the_commands_of_a_page_work_as_they_stand(page, tmp_path):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks(page))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_job_files_on_a_page_are_job_files(page):
    for text in re.findall(r"^```yaml job\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        dbp.Job.from_text(text, source=page.name)
