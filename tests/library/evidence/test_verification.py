"""A job directory agrees with itself as dbp leaves it, and every kind of damage is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_jobs import small_job

import dbp
from dbp.errors import NonFiniteLossError
from dbp.evidence.findings import Report
from dbp.evidence.verification import verify
from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.models.model import load_model
from dbp.storage.array_file import read_arrays, write_arrays
from dbp.training.observers import Observer
from dbp.training.stopping import StopRequest
from dbp.workers.preparation import open_dataset


def examined(directory: JobDirectory) -> Report:
    return verify(directory, lambda job: open_dataset(job).fingerprint())


def lines_of(directory: JobDirectory) -> list[dict[str, object]]:
    return [json.loads(line) for line in directory.metrics_file.read_text().splitlines()]


def write_lines(directory: JobDirectory, lines: list[dict[str, object]]) -> None:
    directory.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def flip(path: Path, place: int = -9) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def rewrite(path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Replace an array, with a checksum that holds."""
    arrays, metadata = read_arrays(path)
    write_arrays(path, {**arrays, name: change(arrays[name])}, metadata)


def test_a_job_as_it_was_left_is_right(trained: JobDirectory) -> None:
    report = examined(trained)
    assert (report.findings, report.warnings) == ((), ())
    assert {check.name for check in report.checks} == {
        "job file",
        "history",
        "status",
        "environment",
        "checkpoints",
        "model",
        "digests",
        "data",
    }
    says = {check.name: check.says for check in report.checks}
    # Three checkpoints with the best parameters beside the last, and the model.
    assert says["digests"] == "7 of the parameters on disk are those of metrics.jsonl"
    assert says["checkpoints"] == "3 checkpoints whose checksums hold"
    assert says["history"] == "steps 1 to 30"


def checkpoint(directory: JobDirectory, step: int = 28) -> Path:
    return directory.checkpoint_store().path(step)


def drop_a_line(directory: JobDirectory) -> None:
    lines = lines_of(directory)
    write_lines(directory, lines[:6] + lines[7:])


def drop_the_last_line(directory: JobDirectory) -> None:
    write_lines(directory, lines_of(directory)[:-1])


def repeat_a_line(directory: JobDirectory) -> None:
    lines = lines_of(directory)
    write_lines(directory, lines[:7] + lines[6:])


def change_a_digest(directory: JobDirectory) -> None:
    lines = lines_of(directory)
    lines[27]["digest"] = "0123456789abcdef"
    write_lines(directory, lines)


def edit(file: str, old: str, new: str) -> Callable[[JobDirectory], None]:
    def change(directory: JobDirectory) -> None:
        path = directory.path / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return change


STEP_28 = "checkpoints/step-00000028.safetensors"
DAMAGE: dict[str, tuple[Callable[[JobDirectory], object], list[str]]] = {
    "a line is missing": (
        drop_a_line,
        ["metrics.jsonl, step 7: expected step 7; found step 8 in line 7: step 7 missing"],
    ),
    "the last line is missing": (
        drop_the_last_line,
        [
            "status.json, step 30: expected step 29, the last of metrics.jsonl; found step 30",
            "metrics.jsonl, step 30: expected the step that checkpoints/step-00000030.safetensors is of; found no line of it",
        ],
    ),
    "a line is there twice": (
        repeat_a_line,
        ["metrics.jsonl, step 7: expected step 8; found that step once more in line 8"],
    ),
    "another digest": (
        change_a_digest,
        [f"{STEP_28}, step 28: expected digest 0123456789abcdef, as in metrics.jsonl; found parameters of digest "],
    ),
    "a flipped bit in a checkpoint": (
        lambda directory: flip(checkpoint(directory)),
        [f"{STEP_28}, step 28: expected a checkpoint whose checksum holds; found damaged"],
    ),
    "a checkpoint of other parameters, with a checksum of its own": (
        lambda directory: rewrite(checkpoint(directory), "parameters", np.negative),
        [f"{STEP_28}, step 28: expected digest "],
    ),
    "other best parameters": (
        lambda directory: rewrite(checkpoint(directory), "stopping.best_parameters", np.negative),
        [f"{STEP_28}, step 27: expected digest "],
    ),
    "a flipped bit in the model": (
        lambda directory: flip(directory.model_file),
        ["model.safetensors: expected a model whose checksum holds; found damaged"],
    ),
    "a model of other parameters": (
        lambda directory: rewrite(directory.model_file, "parameters", lambda old: old + 1),
        ["model.safetensors, step 27: expected digest "],
    ),
    "no model": (
        lambda directory: directory.model_file.unlink(),
        ["model.safetensors, step 27: expected the model of a done job; found no such file"],
    ),
    "a changed table": (
        lambda directory: flip(directory.path.parents[1] / "table.csv", 20),
        ["environment.json: expected data fingerprint "],
    ),
    "another seed in the job file": (
        edit("job.yaml", "seed: 0", "seed: 1"),
        [
            "checkpoints/step-00000021.safetensors, step 21: expected job_fingerprint ",
            "model.safetensors, step 27: expected job",
        ],
    ),
    "a job file that is none": (
        edit("job.yaml", "name: small", "nome: small"),
        ["job.yaml: expected a job file; found "],
    ),
    "a status that is none": (edit("status.json", '"step"', '"stop"'), ["status.json: expected a status file; found "]),
    "no status": (
        lambda directory: directory.status_file.unlink(),
        ["status.json: expected a status, after 30 steps; found no"],
    ),
    "an environment that is none": (edit("environment.json", "{", "["), ["environment.json: expected JSON; found "]),
    "a renamed checkpoint": (
        lambda directory: checkpoint(directory).rename(checkpoint(directory, 29)),
        [
            "checkpoints/step-00000029.safetensors, step 29: expected a checkpoint whose checksum holds; found holds step 28"
        ],
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_named(trained: JobDirectory, damage: str) -> None:
    """And nothing is written."""
    act, expected = DAMAGE[damage]
    act(trained)
    before = {path: path.read_bytes() for path in trained.path.rglob("*") if path.is_file()}
    found = [str(finding) for finding in examined(trained).findings]
    for words in expected:
        assert any(each.startswith(words) for each in found), found
    assert {path: path.read_bytes() for path in trained.path.rglob("*") if path.is_file()} == before


def test_a_table_that_is_not_here_is_a_warning_that_names_it(trained: JobDirectory, tmp_path: Path) -> None:
    (tmp_path / "table.csv").unlink()
    report = examined(trained)
    assert report.findings == ()
    (warning,) = report.warnings
    assert warning.startswith(f"{tmp_path}/table.csv: not here to be compared")


def test_lines_of_before_digests_were_written_are_a_warning(trained: JobDirectory) -> None:
    old = [
        {key: value for key, value in line.items() if key not in ("digest", "attempt")} for line in lines_of(trained)
    ]
    write_lines(trained, old)
    report = examined(trained)
    assert report.findings == ()
    assert "has no digests of these steps" in report.warnings[0]


def test_a_running_job_is_right_at_every_step_and_so_is_a_resumed_one(tmp_path: Path) -> None:
    """Examined from within the run, after each step and each checkpoint; the last line may be half written."""
    seen: list[tuple[int, tuple[object, ...]]] = []

    class Examine(Observer):
        def started(self, plan: object) -> None:
            self.directory = JobDirectory.open(tmp_path / "runs" / "a")

        def step(self, metrics: object) -> None:
            if metrics.step in (1, 9, 12, 23):
                self.look(metrics.step)
            if metrics.step in (9, 23):
                stop.set()

        def checkpoint(self, step: int, path: Path, seconds: float) -> None:
            self.look(step)

        def look(self, step: int) -> None:
            seen.append((step, examined(self.directory).findings))

    stop = StopRequest()
    options = ("training.max_steps=30", "stopping.patience=100")
    part = dbp.train(small_job(tmp_path, *options), job_id="a", observer=Examine(), stop=stop)
    for _ in range(2):
        stop = StopRequest()
        part = dbp.resume(part.directory, observer=Examine(), stop=stop)
        directory = JobDirectory.open(part.directory)
        assert examined(directory).findings == ()
    assert part.summary.state == "SUCCEEDED"
    assert {step for step, _ in seen} >= {1, 7, 9, 12, 14, 21, 23, 28, 30}
    assert [findings for _, findings in seen if findings] == []
    assert len({line["attempt"] for line in lines_of(directory)}) == 3
    # As a kill leaves it: steps beyond the newest checkpoint, and half a line.
    with open(directory.metrics_file, "ab") as file:
        file.write(b'{"step": 31, "lo')
    edit("status.json", '"SUCCEEDED"', '"RUNNING"')(directory)
    assert examined(directory).findings == ()


def test_each_run_of_a_sweep_is_examined(tmp_path: Path) -> None:
    job = small_job(tmp_path, "training.max_steps=8", "sweep={optimizer.learning_rate: [0.1, 0.2]}")
    directory = JobDirectory.open(dbp.train(job, job_id="many").directory)
    report = examined(directory)
    assert report.findings == ()
    assert {check.name for check in report.checks} >= {"runs", "run 1: history", "run 2: digests", "data"}
    flip(directory.member(2).path / "checkpoints" / "step-00000007.safetensors")
    other = directory.member(1 if load_model(directory.model_file).parameters_sha256 in _sha256(directory, 2) else 2)
    directory.model_file.write_bytes(other.model_file.read_bytes())
    found = [str(finding) for finding in examined(directory).findings]
    assert found[0].startswith("sweep.json: expected the model of the best run, ")
    assert found[1].startswith("members/002/checkpoints/step-00000007.safetensors, step 7: expected a checkpoint whose")
    assert len(found) == 2


def _sha256(directory: JobDirectory, number: int) -> str:
    return load_model(directory.member(number).model_file).parameters_sha256


def test_a_report_as_json_is_plain(trained: JobDirectory) -> None:
    flip(trained.model_file)
    told = json.loads(json.dumps(examined(trained).to_json(), allow_nan=False))
    assert told["valid"] is False
    (finding,) = [finding for check in told["checks"] for finding in check["findings"]]
    assert (finding["file"], finding["step"]) == ("model.safetensors", None)
    assert [check["outcome"] for check in told["checks"] if check["check"] == "model"] == ["wrong"]


def test_a_job_is_whatever_its_file_says(trained: JobDirectory) -> None:
    """More steps and other stopping rules are no other job."""
    job = Job.from_file(trained.job_file, ["training.max_steps=99", "stopping.patience=null", "workers=3"])
    trained.job_file.write_text(job.to_yaml())
    assert examined(trained).findings == ()


def test_a_job_that_failed_is_right_too(tmp_path: Path) -> None:
    """Its loss left the finite numbers: the history ends there, and the last good checkpoint is of one of its steps."""
    options = ("network.activation=[relu]", "optimizer.learning_rate=1.0e9", "training.max_steps=300")
    with pytest.raises(NonFiniteLossError):
        dbp.train(small_job(tmp_path, *options), job_id="a")
    report = examined(JobDirectory.open(tmp_path / "runs" / "a"))
    assert report.findings == ()
    assert next(check.says for check in report.checks if check.name == "status").startswith("FAILED at step ")
