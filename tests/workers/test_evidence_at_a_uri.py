"""verify, diff and replay of jobs that are kept in a bucket: read from there, and nothing is written."""

from __future__ import annotations

from pathlib import Path

from s3_server import S3
from small_jobs import small_job

from dbp.evidence.differences import compare
from dbp.evidence.verification import verify
from dbp.jobs.directory import JobDirectory
from dbp.storage.remote import open_folder
from dbp.training.observers import Observer, StepMetrics
from dbp.training.stopping import StopRequest
from dbp.workers.preparation import open_dataset
from dbp.workers.replay import replay
from dbp.workers.train import resume, train


class StopAt(Observer):
    def __init__(self, at: int, stop: StopRequest) -> None:
        self._at, self._stop = at, stop

    def step(self, metrics: StepMetrics) -> None:
        if metrics.step == self._at:
            self._stop.set()


def names(uri: str) -> list[str]:
    folder = open_folder(uri)
    epochs = [name for name in folder.child("checkpoints").names() if name.startswith("e")]
    return sorted([*folder.names(), *(f"{e}/{n}" for e in epochs for n in folder.child(f"checkpoints/{e}").names())])


def test_jobs_in_a_bucket(s3: S3, tmp_path: Path) -> None:
    """One of them in two attempts, so its checkpoints are in two places."""
    storage = f"storage={s3.url}/runs"
    stop = StopRequest()
    observer = StopAt(16, stop)
    part = train(small_job(tmp_path, "training.max_steps=24", storage), job_id="a", observer=observer, stop=stop)
    resume(part.directory)
    train(small_job(tmp_path, "training.max_steps=24", "training.seed=1", storage), job_id="b")
    before = names(f"{s3.url}/runs/a")
    first, other = (JobDirectory.open(f"{s3.url}/runs/{job}") for job in "ab")
    report = verify(first, lambda job: open_dataset(job).fingerprint())
    assert (report.findings, report.warnings) == ((), ())
    assert [check.says for check in report.checks if check.name == "history"] == ["steps 1 to 24, in 2 attempts"]
    found = replay(JobDirectory.open(f"{s3.url}/runs/a"), 24)
    assert (found.different, found.start) == ((), 21)
    compared = compare(first, other)
    assert compared.parting is not None
    assert (compared.parting.step, [each.what for each in compared.causes]) == (1, ["training.seed"])
    folder = open_folder(f"{s3.url}/runs/a")
    folder.remove("model.safetensors")
    gone = verify(JobDirectory.open(f"{s3.url}/runs/a"), lambda job: open_dataset(job).fingerprint())
    assert [str(finding) for finding in gone.findings] == [
        "model.safetensors, step 24: expected the model of a done job; found no such file"
    ]
    assert names(f"{s3.url}/runs/a") == [name for name in before if name != "model.safetensors"]
