"""A table that is written anew while a job runs: a worker that reads its rows later takes nothing from it. Real kills."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from small_jobs import small_job

import dbp
from dbp.errors import DataError
from dbp.jobs.status import read_status
from dbp.training.observers import Observer, StepMetrics
from dbp.workers.ray_pool import RayTransport
from dbp.workers.train import resume, train

pytestmark = pytest.mark.usefixtures("local_ray")

STEPS = 150


class Meddler(Observer):
    """At step 100 the table changes, and a worker dies: the one that takes its place reads its rows anew."""

    def __init__(self, table: Path, new: bytes, pids: list[RayTransport]) -> None:
        self.table, self.new, self.pids = table, new, pids

    def step(self, metrics: StepMetrics) -> None:
        if metrics.step == 100:
            self.table.write_bytes(self.new)
            os.kill(self.pids[-1].pids()[1], signal.SIGKILL)


@pytest.fixture
def transports(monkeypatch: pytest.MonkeyPatch) -> list[RayTransport]:
    """The transports that are made, in order."""
    made: list[RayTransport] = []
    init = RayTransport.__init__

    def noting(self: RayTransport, *arguments: object, **options: object) -> None:
        init(self, *arguments, **options)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(RayTransport, "__init__", noting)
    return made


def test_rows_of_a_table_that_changed_are_refused_and_what_was_reached_is_kept(
    tmp_path: Path, transports: list[RayTransport]
) -> None:
    job = small_job(tmp_path, f"training.max_steps={STEPS}")
    table = tmp_path / "table.csv"
    old = table.read_bytes()
    new = re.sub(rb"\.(\d)", lambda found: b".7" if found[1] != b"7" else b".3", old)
    assert len(new) == len(old)
    with pytest.raises(
        DataError, match=r"table\.csv: (has changed since the run|.* they were when the job) began.*`dbp resume`"
    ):
        train(job, job_id="a", workers=2, observer=Meddler(table, new, transports))
    directory = tmp_path / "runs/a"
    status = read_status(directory / "status.json")
    assert status.state == "FAILED"
    assert status.step >= 100
    table.write_bytes(old)
    again = resume(directory, workers=2)
    assert again.summary.parameters_sha256 == dbp.train(job, job_id="b", workers=0).summary.parameters_sha256


def test_a_table_that_was_written_with_the_same_contents_is_the_same(
    tmp_path: Path, transports: list[RayTransport]
) -> None:
    """Another time of writing, as of a copy on another machine, is no change."""
    job = small_job(tmp_path, f"training.max_steps={STEPS}")
    table = tmp_path / "table.csv"
    result = train(job, job_id="a", workers=2, observer=Meddler(table, table.read_bytes(), transports))
    assert result.summary.parameters_sha256 == dbp.train(job, job_id="b", workers=0).summary.parameters_sha256
