"""Rules that remember end a job at the same step, with the same bits, whoever computed it and however often it was killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_jobs import small_job

import dbp
from dbp.jobs.metrics import read_metrics

DBP = str(Path(sys.executable).parent / "dbp")
PATIENT = ("stopping.patience=4", "checkpoint.every=5")
SAME = ("rule", "reason", "step", "model_step", "loss", "validation", "parameters_sha256")


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("workers", [1, 3])
def test_validation_and_what_hangs_on_it_do_not_depend_on_the_workers(tmp_path, workers):
    """Validation rows are sharded as the others are: every number of every validation is the same."""
    here = dbp.train(small_job(tmp_path, *PATIENT), workers=0)
    there = dbp.train(small_job(tmp_path, *PATIENT), workers=workers)
    assert [step.validation_loss for step in here.history] == [step.validation_loss for step in there.history]
    assert [step.validation_rms for step in here.history] == [step.validation_rms for step in there.history]
    assert [getattr(here.summary, name) for name in SAME] == [getattr(there.summary, name) for name in SAME]


@pytest.mark.parametrize(
    "attempt", [0, pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long)]
)
def test_killed_again_and_again_it_stops_where_it_would_have(tmp_path, attempt):
    """kill -9 twice, at random steps; each time resumed from a checkpoint some steps back."""
    settings = (*PATIENT, "training.validate_every=30", "training.max_steps=4000", "optimizer.learning_rate=0.01")
    job = small_job(tmp_path, *settings)
    whole = dbp.train(job).summary
    assert whole.rule == "patience"
    (tmp_path / "job.yaml").write_text(job.to_yaml())
    directory = tmp_path / "runs" / "victim"
    command = [DBP, "run", tmp_path / "job.yaml", "--id", "victim", "--quiet"]
    for at in sorted(random.sample(range(6, whole.step - 20), 2)):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
            wait_for_step(directory / "metrics.jsonl", at, run)
            os.kill(run.pid, signal.SIGKILL)
        command = [DBP, "resume", directory, "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    names = [*SAME[:2], "steps", *SAME[3:]]
    assert [told[name] for name in names] == [getattr(whole, name) for name in SAME]


def wait_for_step(metrics: Path, step: int, run: subprocess.Popen, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        steps = read_metrics(metrics).steps
        if steps and steps[-1]["step"] >= step:
            return
        assert run.poll() is None, run.stderr.read().decode()
    raise AssertionError(f"step {step} was not reached in {limit_s} s")
