"""docs/job-file.md is what the fields themselves say."""

from __future__ import annotations

from pathlib import Path

from dbp.jobs.job import Job, job_schema
from dbp.jobs.manual import EXAMPLE, manual

PAGE = Path(__file__).parents[3] / "docs" / "job-file.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text("utf-8") == manual(), "run: python -m dbp.jobs.manual docs/job-file.md"


def test_the_example_on_the_page_is_a_job() -> None:
    assert Job.from_text(EXAMPLE).name == "digits"


def test_every_field_is_described() -> None:
    """Each row of each table has an expectation and a sentence."""
    rows = [line for line in manual().splitlines() if line.startswith("| `")]
    fields = sum(len(section["properties"]) for section in [job_schema(), *job_schema()["$defs"].values()])
    assert len(rows) == fields
    for row in rows:
        key, expects, default, meaning = row.replace("\\|", "").strip("| ").split(" | ")
        assert expects, key
        assert default, key
        assert meaning.endswith((".", ".)")), row
