"""`dbp report`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from s3_server import S3

Dbp = Callable[..., Any]


def test_a_report_is_written_into_the_job_directory(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """Its name is the result; -o puts it elsewhere; nothing else of the job changes."""
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    ran = dbp("report", "a-1")
    assert (ran.code, ran.out) == (0, f"{trained / 'report.html'}\n")
    assert ran.err == ""
    text = (trained / "report.html").read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert text.endswith("</html>\n")
    told = dbp("report", "a-1", "-o", "other.html", "--json")
    assert told.json["report"] == "other.html"
    assert told.json["notes"] == {}
    assert (tmp_path / "other.html").exists()
    assert all(path.read_bytes() == data for path, data in before.items())


def test_a_page_that_cannot_be_written(dbp: Dbp, trained: Path) -> None:
    """Exit code 2 and one line; so with a job that is not there."""
    ran = dbp("report", "a-1", "-o", "none/report.html")
    assert ran.code == 2
    assert "none/report.html: cannot be written: no such file or folder" in ran.err
    assert dbp("report", "b-1").code == 2
    assert dbp("report", "a-1", "--rows", "0").code == 2


def test_a_job_in_a_bucket(dbp: Dbp, job_file: Path, tmp_path: Path, s3: S3) -> None:
    """Read where it is; the page goes where -o says."""
    place = f"{s3.url}/runs"
    assert dbp("run", job_file, "--id", "far", "--storage", place, "--quiet").code == 0
    refused = dbp("report", f"{place}/far")
    assert (refused.code, "-o FILE.html" in refused.err) == (2, True)
    ran = dbp("report", f"{place}/far", "-o", "far.html")
    assert (ran.code, ran.err) == (0, "")
    assert "20 (model)" in (tmp_path / "far.html").read_text()
