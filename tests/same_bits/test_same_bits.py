"""The signature of the project: the same SHA-256 for any number of workers, and after a kill and a resume.

The job is examples/digits.yaml, real data and all; the kill is a real SIGKILL of the whole run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dbp
from dbp.evidence.findings import Finding
from dbp.evidence.verification import verify
from dbp.jobs.directory import JobDirectory
from dbp.jobs.metrics import read_metrics
from dbp.jobs.status import describe_state, read_status
from dbp.network.compiled import instruction_set
from dbp.optimizers.registry import METHODS
from dbp.training.observers import Observer
from dbp.training.stopping import StopRequest
from dbp.workers.preparation import open_dataset

ROOT = Path(__file__).parents[2]
DBP = [str(Path(sys.executable).parent / "dbp")]


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Path:
    """The folder of the main example, with its table."""
    folder = tmp_path_factory.mktemp("digits")
    shutil.copy(ROOT / "examples" / "digits.yaml", folder)
    subprocess.run([sys.executable, ROOT / "examples" / "make_digits.py", folder / "digits.parquet"], check=True)
    return folder


def job(digits: Path, storage: Path, *overrides: str) -> dbp.Job:
    return dbp.Job.from_file(digits / "digits.yaml", [f"storage={json.dumps(str(storage))}", *overrides])


@pytest.fixture(scope="session")
def reference(digits, tmp_path_factory) -> str:
    """The SHA-256 of the main example, trained in this process and never interrupted."""
    result = dbp.train(job(digits, tmp_path_factory.mktemp("reference")), workers=0)
    assert result.summary.validation["accuracy"] >= 0.95
    return result.summary.parameters_sha256


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_any_number_of_workers_gives_the_same_bits(digits, reference, tmp_path, workers):
    result = dbp.train(job(digits, tmp_path), workers=workers)
    assert result.summary.parameters_sha256 == reference


ANOTHER_CPU = {
    "DBP_INSTRUCTIONS": "avx2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
}


@pytest.mark.skipif(instruction_set() == "portable", reason="this machine has no instructions to do without")
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("optimizer={name: lbfgs}", "training.l2_penalty=0.001", "network.hidden=[20]", "training.max_steps=40"),
        ("optimizer={name: adam}", "training.batch=100", "data.class_weights=balanced", "training.precision=float64"),
        ("optimizer={name: levenberg_marquardt}", "loss=squared_error", "network.hidden=[2]", "training.max_steps=10"),
    ],
    ids=["main example", "lbfgs", "adam", "levenberg_marquardt"],
)
def test_another_type_of_cpu_gives_the_same_bits(digits, tmp_path, overrides):
    """A whole run with the instructions of an older processor: narrower in dbp's kernel, and none but SSE in numpy."""
    here = dbp.train(job(digits, tmp_path, *overrides), workers=0).summary.parameters_sha256
    changes = [word for each in (f"storage={tmp_path}", *overrides) for word in ("--set", each)]
    done = subprocess.run(
        [*DBP, "run", str(digits / "digits.yaml"), "--workers", "0", "--json", *changes],
        env={**os.environ, **ANOTHER_CPU},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["parameters_sha256"] == here


VARIANTS = {
    "batches": (
        "training.batch=100",
        "optimizer.momentum=0.9",
        "optimizer.learning_rate=0.05",
        "training.max_steps=60",
    ),
    "on-line": ("training.batch=1", "optimizer.learning_rate=0.02", "training.max_steps=40"),
    "sum": ("training.reduction=sum", "optimizer.learning_rate=0.0003", "training.max_steps=40"),
    "float64": ("training.precision=float64", "training.max_steps=40", "network.activation=[relu, softplus]"),
    "penalty": ("training.l2_penalty=0.001", "loss=squared_error", "training.max_steps=40"),
}
# Every method of the registry; where it has a schedule, with one.
OPTIMIZERS = {
    name: (
        "optimizer="
        + json.dumps(
            {"name": name}
            | ({"learning_rate": 0.1, "momentum": 0.9, "nesterov": True} if name == "gradient_descent" else {})
            | ({"schedule": {"name": "cosine", "steps": 30}} if "schedule" in options.model_fields else {})
        ),
        "network.hidden=[8]",
        "training.max_steps=40",
    )
    for name, options in METHODS.items()
}
OPTIMIZERS["levenberg_marquardt"] = (*OPTIMIZERS["levenberg_marquardt"], "network.hidden=[2]", "loss=squared_error")
VARIANTS |= OPTIMIZERS


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_step_gives_the_same_bits(digits, tmp_path, variant):
    overrides = (*VARIANTS[variant], "checkpoint.every=7")
    here = dbp.train(job(digits, tmp_path / "0", *overrides), workers=0)
    there = dbp.train(job(digits, tmp_path / "3", *overrides), workers=3)
    threads = dbp.train(job(digits, tmp_path / "threads", *overrides, "workers={threads: 3}"))
    assert here.summary.parameters_sha256 == there.summary.parameters_sha256 == threads.summary.parameters_sha256
    steps = [(step.loss, step.digest) for step in here.history]
    assert [(step.loss, step.digest) for step in there.history] == steps
    assert [(step.loss, step.digest) for step in threads.history] == steps


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_and_resumed_gives_the_same_bits(digits, tmp_path, variant):
    overrides = (*VARIANTS[variant], "checkpoint.every=7")
    whole = dbp.train(job(digits, tmp_path / "whole", *overrides), workers=0)

    class StopAt(Observer):
        def step(self, metrics):
            if metrics.step in (9, 23):
                stop.set()

    stop = StopRequest()
    part = dbp.train(job(digits, tmp_path / "part", *overrides), workers=0, observer=StopAt(), stop=stop)
    assert (part.summary.state, part.summary.step) == ("STOPPED", 9)
    stop = StopRequest()
    part = dbp.resume(part.directory, workers=0, observer=StopAt(), stop=stop)
    assert part.summary.step == 23
    part = dbp.resume(part.directory, workers=0)
    assert part.summary.state == "SUCCEEDED"
    assert part.summary.parameters_sha256 == whole.summary.parameters_sha256


@pytest.mark.parametrize("workers", ["--workers=0", "--workers=2", "--threads=2"])
def test_killed_at_a_random_step_and_resumed_gives_the_same_bits(digits, reference, tmp_path, workers):
    """kill -9 of the whole run: of its process group, so of Ray's processes too."""
    options = ["--id", "victim", "--storage", tmp_path, workers, "--set", "checkpoint.every=5"]
    run = subprocess.Popen(
        [*DBP, "run", digits / "digits.yaml", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    at = random.randrange(6, 120)  # of 200: a step takes a millisecond, and the kill must not come too late
    told = killed_and_resumed(run, tmp_path / "victim", at)
    assert told["parameters_sha256"] == reference, f"killed at step {at}"
    assert sorted(step["step"] for step in read_metrics(tmp_path / "victim" / "metrics.jsonl").steps) == [
        *range(1, 201)
    ]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_killed_at_a_random_step_and_resumed_gives_the_same_bits(digits, tmp_path, name):
    """Its state is complete: kill -9, and the checkpoint is all there is."""
    steps = 120 if METHODS[name].needs_curvature else 400  # so many that the kill does not come too late
    overrides = (*OPTIMIZERS[name], f"training.max_steps={steps}", "checkpoint.every=7", "workers=0")
    whole = dbp.train(job(digits, tmp_path, *overrides), job_id="whole")
    options = ["--id", "victim", "--storage", tmp_path, *(word for each in overrides for word in ("--set", each))]
    run = subprocess.Popen(
        [*DBP, "run", digits / "digits.yaml", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    at = random.randrange(8, 80)
    told = killed_and_resumed(run, tmp_path / "victim", at)
    assert told["parameters_sha256"] == whole.summary.parameters_sha256, f"killed at step {at}"
    steps = read_metrics(tmp_path / "victim" / "metrics.jsonl").steps
    uninterrupted = [(step.loss, step.rms, step.digest) for step in whole.history]
    assert [(step["loss"], step["rms"], step["digest"]) for step in steps] == uninterrupted


def killed_and_resumed(run: subprocess.Popen, directory: Path, step: int) -> dict:
    """Kill a run and all its processes at a step, and have it resumed to its end; return what `dbp resume --json` tells."""
    wait_for_step(directory, step, run)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert describe_state(read_status(directory / "status.json")).state == "LOST"
    assert findings(directory) == ()
    resumed = subprocess.run(
        [*DBP, "resume", directory, "--json", "--workers", "0"], capture_output=True, text=True, check=True
    )
    told = json.loads(resumed.stdout)
    assert told["state"] == "SUCCEEDED"
    assert findings(directory) == ()
    return told


def findings(directory: Path) -> tuple[Finding, ...]:
    """What `dbp verify` finds wrong."""
    return verify(JobDirectory.open(directory), lambda job: open_dataset(job).fingerprint()).findings


def wait_for_step(directory: Path, step: int, run: subprocess.Popen, limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    metrics = directory / "metrics.jsonl"
    while time.monotonic() < deadline:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= step:
            return
        assert run.poll() is None, run.stderr.read().decode()
        time.sleep(0.0005)
    raise AssertionError(f"step {step} was not reached in {limit_s} s")
