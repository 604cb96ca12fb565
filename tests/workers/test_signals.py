"""`training.signals_every`: the record of error signals of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_jobs import small_job

import dbp
from dbp.jobs.directory import JobDirectory
from dbp.storage.checkpoints import CheckpointStore
from dbp.training.observers import Observer, StepMetrics
from dbp.training.signals import PROBE_ROWS, read_signals
from dbp.training.stopping import StopRequest
from dbp.workers.preparation import open_dataset
from dbp.workers.report import gather


def lines_of(directory: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(str(directory)) / "signals.jsonl").read_text().splitlines()]


class StopAt(Observer):
    def __init__(self, step: int) -> None:
        self.last, self.stop = step, StopRequest()

    def step(self, metrics: StepMetrics) -> None:
        if metrics.step == self.last:
            self.stop.set()


def test_what_is_recorded_is_the_error_signal_after_the_step(tmp_path: Path) -> None:
    """Of all training rows, where they are few; at the parameters that a checkpoint of that step has."""
    job = small_job(tmp_path, "training.max_steps=9", "training.signals_every=3", "checkpoint.every=3")
    result = dbp.train(job)
    found = read_signals(Path(result.directory) / "signals.jsonl", result.model.network.sizes)
    assert sorted(found) == [3, 6, 9]
    rows = open_dataset(job).encode("train", 0, 28, result.model.encoding, np.dtype("float64"))
    store = CheckpointStore(Path(result.directory) / "checkpoints")
    for step, layers in found.items():
        theta: Any = store.load(step).arrays["parameters"]
        signals = dbp.error_signals(result.model.network, theta, rows.inputs, rows.targets, "squared_error")
        for layer, signal in zip(layers, signals, strict=True):
            assert layer == pytest.approx(np.sqrt((signal**2).mean(axis=0)), rel=1e-6)


def test_it_changes_no_bit_and_no_fingerprint(tmp_path: Path) -> None:
    """Nor is anything recorded that was not asked for."""
    with_it, without = (
        small_job(tmp_path, "training.signals_every=1", "training.max_steps=5"),
        small_job(tmp_path, "training.max_steps=5"),
    )
    assert with_it.fingerprint() == without.fingerprint()
    first, second = dbp.train(with_it), dbp.train(without)
    assert first.summary.parameters_sha256 == second.summary.parameters_sha256
    assert not (Path(second.directory) / "signals.jsonl").exists()


def test_an_interrupted_run_has_the_lines_of_one_that_was_not(tmp_path: Path) -> None:
    """None is lost; those made again after a lost checkpoint are the same."""
    job = small_job(tmp_path, "training.max_steps=10", "training.signals_every=2", "checkpoint.every=4")
    whole = lines_of(dbp.train(job).directory)
    stopping = StopAt(7)
    halted = Path(dbp.train(job, observer=stopping, stop=stopping.stop).directory)
    (halted / "checkpoints/step-00000007.safetensors").unlink()
    dbp.resume(halted)
    told = lines_of(halted)
    assert [line["step"] for line in told] == [2, 4, 6, 6, 8, 10]
    assert list({line["step"]: line for line in told}.values()) == whole


def test_workers_change_none_of_the_lines(tmp_path: Path, local_ray: object) -> None:
    """Two workers of Ray."""
    job = small_job(tmp_path, "training.max_steps=3", "training.signals_every=1")
    assert lines_of(dbp.train(job).directory) == lines_of(dbp.train(job, workers=2).directory)


def test_the_report_draws_what_was_recorded(tmp_path: Path) -> None:
    """All of its steps, and the start over the same rows; where the table is gone, still what was recorded."""
    job = small_job(tmp_path, "training.max_steps=30", "training.signals_every=1")
    directory = JobDirectory.open(str(dbp.train(job).directory))
    facts = gather(directory)
    assert [each.step for each in facts.snapshots] == list(range(31))
    assert (facts.recorded, facts.signal_rows) == (30, min(28, PROBE_ROWS))
    Path(job.data.train).unlink()
    gone = gather(directory)
    assert [each.step for each in gone.snapshots] == list(range(1, 31))


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 1}',
        '{"step": 1, "layers": [[1], [2]]}',
        '{"step": 1, "layers": [["a", 1], [1]]}',
        '{"step": 1, "layers": 3}',
        '{"step": 1, "layers": [[-1, 1], [1]]}',
        '{"step": 1, "layers": [[1e999, 1], [1]]}',
        "nonsense",
    ],
)
def test_lines_that_are_none_are_left_out(tmp_path: Path, line: str) -> None:
    """The good one beside it is read; null stands for a number that was not finite."""
    file = tmp_path / "signals.jsonl"
    file.write_text(f'{line}\n{{"step": 2, "layers": [[1, null], [0.5]]}}\n')
    found = read_signals(file, (2, 1))
    assert list(found) == [2]
    assert [layer.tolist() for layer in found[2]] == [[1.0, np.inf], [0.5]]
