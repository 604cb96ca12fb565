"""`dbp run` with workers, whose own Ray loses a part: its head process or its node's manager. Real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import family
from small_jobs import small_job

import dbp
from dbp.jobs.status import describe_state, read_status

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

DBP = Path(sys.executable).with_name("dbp")
STEPS = 20_000


@pytest.fixture
def run(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    job = small_job(tmp_path, f"training.max_steps={STEPS}", "workers=2", "checkpoint.every=100")
    (tmp_path / "job.yaml").write_text(job.to_yaml())
    with open(tmp_path / "talk", "w") as talk:
        process = subprocess.Popen(
            [DBP, "run", tmp_path / "job.yaml", "--id", "a-1"], cwd=tmp_path, stdout=talk, stderr=talk, text=True
        )
    wait_for_step(tmp_path, 300, process)
    yield process
    if process.poll() is None:
        for pid in family(process.pid):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def step_of(folder: Path) -> int:
    try:
        return int(json.loads((folder / "runs/a-1/status.json").read_text())["step"])
    except (OSError, ValueError):
        return 0


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while step_of(folder) < step:
        assert process.poll() is None, (folder / "talk").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def part_of(process: subprocess.Popen[str], name: str) -> int:
    """The process id of a part of its Ray."""
    (found,) = [pid for pid in family(process.pid) if Path(os.readlink(f"/proc/{pid}/exe")).name == name]
    return found


def test_a_head_process_that_is_frozen_for_a_while_is_not_missed(run: subprocess.Popen[str], tmp_path: Path) -> None:
    """Steps are made while it is frozen: calls do not go through it."""
    head = part_of(run, "gcs_server")
    os.kill(head, signal.SIGSTOP)
    before = step_of(tmp_path)
    wait_for_step(tmp_path, before + 200, run)
    os.kill(head, signal.SIGCONT)
    assert run.wait(300) == 0, (tmp_path / "talk").read_text()
    assert "lost" not in (tmp_path / "talk").read_text()


@pytest.mark.parametrize("part", ["gcs_server", "raylet"])
def test_what_was_reached_is_kept_when_a_part_of_ray_dies(
    run: subprocess.Popen[str], tmp_path: Path, part: str
) -> None:
    """Ray ends the run, at once or after a minute, without any of its last words; the job directory has all that it takes."""
    os.kill(part_of(run, part), signal.SIGKILL)
    run.wait(300)
    shown = describe_state(read_status(tmp_path / "runs/a-1/status.json"))
    assert shown.state in ("LOST", "FAILED", "SUCCEEDED")
    print(f"{part}: exit code {run.returncode}, {shown.state}, step {step_of(tmp_path)}")
    result = dbp.resume(tmp_path / "runs/a-1", workers=0)
    whole = dbp.train(small_job(tmp_path, f"training.max_steps={STEPS}"), job_id="b", workers=0)
    assert result.summary.parameters_sha256 == whole.summary.parameters_sha256
