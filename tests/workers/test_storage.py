"""Jobs whose storage is a URI: the same bits, whatever breaks on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest
from chaos import ChaosFileSystem, Fault
from s3_server import S3
from small_disks import disk_of, mount
from small_jobs import small_job

import dbp
from dbp.errors import JobDirectoryError, JobFileError, LeaseLostError, StorageError, StorageFailedError
from dbp.jobs.lease import Owner, claim
from dbp.jobs.metrics import read_metrics
from dbp.jobs.working_folder import working_root
from dbp.storage import mirror
from dbp.storage.checkpoints import CheckpointStore
from dbp.storage.remote import open_folder
from dbp.training.observers import Observer, StepMetrics
from dbp.workers.train import resume, train

DBP = Path(sys.executable).with_name("dbp")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbp.training.saving.sleep", lambda seconds: None)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SHA-256 of the small job with a local folder."""
    return train(small_job(tmp_path_factory.mktemp("reference")), job_id="a").summary.parameters_sha256


@pytest.mark.parametrize("kind", ["s3", "memory", "file"])
def test_any_storage_gives_the_same_bits_and_keeps_the_same_files(kind, reference, tmp_path, request):
    storage = {"memory": f"memory://{tmp_path.name}/runs", "file": f"file://{tmp_path}/there"}.get(kind)
    storage = storage or f"{request.getfixturevalue('s3').url}/runs"
    result = train(small_job(tmp_path, f"storage={storage}"), job_id="a")
    assert result.summary.parameters_sha256 == reference
    folder = open_folder(storage).child("a")
    assert result.directory == (f"{storage}/a" if kind != "file" else tmp_path / "there" / "a")
    assert {"job.yaml", "status.json", "metrics.jsonl", "log.txt", "environment.json", "model.safetensors"} <= set(
        folder.names()
    )
    assert json.loads(folder.read("status.json"))["state"] == "SUCCEEDED"
    folder.download("metrics.jsonl", tmp_path / "metrics.jsonl")
    steps = [step["step"] for step in read_metrics(tmp_path / "metrics.jsonl").steps]
    assert steps == list(range(1, 401))
    assert dbp.load_model(f"{folder.uri}/model.safetensors").parameters_sha256 == reference
    if kind != "file":
        assert list(working_root().iterdir()) == []


def test_a_job_goes_on_from_a_uri(reference, s3: S3, tmp_path):
    first = train(small_job(tmp_path, f"storage={s3.url}/runs", "training.max_steps=150"), job_id="a")
    assert first.summary.parameters_sha256 != reference
    second = resume(first.directory, overrides=["training.max_steps=400"])
    assert second.summary.parameters_sha256 == reference
    assert open_folder(first.directory).child("checkpoints").names() == ["e00000002"]


def test_a_sweep_is_kept_at_a_uri_and_goes_on_there(s3: S3, tmp_path):
    changes = ["training.max_steps=20", "sweep={optimizer.learning_rate: [0.1, 0.2]}"]
    here = train(small_job(tmp_path, *changes), job_id="here").summary
    there = train(small_job(tmp_path, *changes, f"storage={s3.url}/runs"), job_id="there").summary
    assert there.parameters_sha256 == here.parameters_sha256
    more = ["training.max_steps=30"]
    assert (
        resume(there.directory, overrides=more).summary.parameters_sha256
        == resume(here.directory, overrides=more).summary.parameters_sha256
    )
    assert "model.safetensors" in open_folder(there.directory).child("members/002").names()


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST"))}


def write_job(folder: Path, *overrides: str) -> Path:
    job = small_job(folder, "training.max_steps=1000", "checkpoint.every=40", *overrides)
    path = folder / "job.yaml"
    path.write_text(job.to_yaml())
    return path


def test_kill_9_in_mid_job_and_resume_from_another_working_folder_give_the_same_bits(s3: S3, tmp_path, monkeypatch):
    job = write_job(tmp_path, f"storage={s3.url}/runs")
    reference = train(dbp.Job.from_file(job, [f"storage={tmp_path}/local"]), job_id="a").summary.parameters_sha256
    with subprocess.Popen(
        [DBP, "run", job, "--id", "a", "--quiet"], env=environment(), stderr=subprocess.PIPE
    ) as process:
        folder = open_folder(f"{s3.url}/runs/a")
        while len(folder.child("checkpoints/e00000001").names()) < 2:
            assert process.poll() is None, process.stderr
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert json.loads(folder.read("lease-00000001.json")).get("released") is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    done = subprocess.run(
        [DBP, "resume", "a", "--storage", f"{s3.url}/runs", "--json", "--quiet"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["parameters_sha256"], told["directory"]) == (reference, f"{s3.url}/runs/a")
    assert list((tmp_path / "elsewhere" / "dbp" / "work").iterdir()) == []
    folder.download("metrics.jsonl", tmp_path / "metrics.jsonl")
    assert len(read_metrics(tmp_path / "metrics.jsonl").steps) == 1000  # none of the steps before the kill is missing
    assert "canary-secret" not in folder.read("job.yaml").decode() + folder.read("log.txt").decode()


def test_a_damaged_remote_checkpoint_is_passed_over(reference, s3: S3, tmp_path):
    first = train(small_job(tmp_path, f"storage={s3.url}/runs", "training.max_steps=150"), job_id="a")
    folder = open_folder(first.directory).child("checkpoints/e00000001")
    newest = folder.names()[-1]
    data = folder.read(newest)
    folder.write(newest, data[:50] + bytes([data[50] ^ 1]) + data[51:])

    class Ear(Observer):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def warning(self, text: str) -> None:
            self.heard.append(text)

    ear = Ear()
    second = resume(first.directory, overrides=["training.max_steps=400"], observer=ear)
    assert second.summary.parameters_sha256 == reference
    assert any(text.startswith(f"{folder.uri}/{newest}: ") for text in ear.heard)


# ---- what breaks in mid-job


class At(Observer):
    """Does something after the checkpoint of a step."""

    def __init__(self, step: int, act) -> None:
        self._step, self._act = step, act

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        if step == self._step:
            self._act()


FAULTS = {
    "full": ([Fault("put", "full", None)], "cannot be written: the store is full"),
    "read-only": ([Fault("put", "403", None)], "cannot be written: access denied"),
    "busy for too long": ([Fault("put", "503", None)], "the server is busy"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_store_that_fails_in_mid_job(case, reference, chaos: type[ChaosFileSystem], tmp_path):
    faults, words = FAULTS[case]
    observer = At(70, lambda: chaos.faults.extend(faults))
    with pytest.raises(StorageFailedError) as caught:
        train(small_job(tmp_path, "storage=chaos://b/runs"), job_id="a", observer=observer)
    assert words in str(caught.value)
    assert "checkpoint of step 91 could not be written (3 checkpoints in a row failed)" in str(caught.value)
    assert "the one of step 70 is kept" in str(caught.value)
    chaos.faults.clear()
    store = open_folder("chaos://b/runs/a/checkpoints/e00000001")
    assert store.names()[-1] == "step-00000070.safetensors"
    again = resume("chaos://b/runs/a")
    assert again.summary.parameters_sha256 == reference


def test_a_store_with_hiccups_changes_nothing(reference, chaos: type[ChaosFileSystem], tmp_path):
    """Every seventh request fails, and every eleventh reply is lost."""
    for operation in ("put", "get", "list", "info", "remove"):
        chaos.faults.append(Fault(operation, "503", tuple(range(3, 5000, 7))))
    chaos.faults.append(Fault("put", "reply lost", tuple(range(2, 5000, 11))))
    result = train(small_job(tmp_path, "storage=chaos://b/runs"), job_id="a")
    assert result.summary.parameters_sha256 == reference
    chaos.faults.clear()
    assert dbp.load_model("chaos://b/runs/a/model.safetensors").parameters_sha256 == reference


def test_status_and_metrics_that_do_not_arrive_are_a_warning_and_then_an_error_at_the_end(
    chaos: type[ChaosFileSystem], tmp_path, monkeypatch
):
    monkeypatch.setattr(mirror, "INTERVAL_S", 0.001)
    chaos.faults.append(Fault("put", "403", None, "status.json"))
    with pytest.raises(StorageError, match=r"status\.json: cannot be written: access denied") as caught:
        train(small_job(tmp_path, "storage=chaos://b/runs"), job_id="a")
    assert "is kept in" in caught.value.__notes__[0]
    assert "model.safetensors" in open_folder("chaos://b/runs/a").names()


def test_a_newer_run_fences_off_the_one_under_way(reference, s3: S3, tmp_path):
    """It ends before its next checkpoint, and writes nothing more: not even that it failed."""
    place = f"{s3.url}/runs/a"
    before: list[bytes] = []

    def take_over() -> None:
        claim(open_folder(place), Owner("another-host", 1), force=True).release()
        before.append(b"".join(open_folder(place).read(name) for name in ("metrics.jsonl", "log.txt")))

    with pytest.raises(LeaseLostError, match="a newer run owns this directory"):
        train(small_job(tmp_path, f"storage={s3.url}/runs"), job_id="a", observer=At(70, take_over))
    folder = open_folder(place)
    assert before == [b"".join(folder.read(name) for name in ("metrics.jsonl", "log.txt"))]
    assert folder.child("checkpoints/e00000001").names()[-1] == "step-00000070.safetensors"
    assert resume(place).summary.parameters_sha256 == reference


def test_a_newer_run_fences_off_the_one_under_way_in_a_folder(reference, tmp_path):
    place = tmp_path / "runs" / "a"
    act = lambda: claim(open_folder(place), Owner("another-host", 1), force=True).release()  # noqa: E731
    with pytest.raises(LeaseLostError, match="a newer run owns this directory"):
        train(small_job(tmp_path), job_id="a", observer=At(70, act))
    assert CheckpointStore(place / "checkpoints").steps()[-1] == 70
    assert resume(place).summary.parameters_sha256 == reference


def test_a_job_that_is_running_is_not_run_twice(s3: S3, tmp_path):
    place = f"{s3.url}/runs/a"

    class Second(Observer):
        error: str = ""

        def step(self, metrics: StepMetrics) -> None:
            if metrics.step == 30:
                with pytest.raises(JobDirectoryError) as caught:
                    resume(place)
                Second.error = str(caught.value)

    train(small_job(tmp_path, f"storage={s3.url}/runs"), job_id="a", observer=Second())
    assert f"{place}: in use by pid {os.getpid()} on host" in Second.error


# ---- what cannot even begin


def test_storage_that_cannot_be_used_is_refused_before_anything_is_read(s3: S3, tmp_path, monkeypatch):
    cases = {
        "s3://no-such-bucket-here/runs": "there is no bucket 'no-such-bucket-here'",
        "s3://user:canary@bucket/runs": "expected credentials in the environment only",
        "ftp://bucket/runs": "storage of kind 'ftp'",
    }
    for storage, words in cases.items():
        with pytest.raises((StorageError, JobFileError), match=storage.split(":")[0]) as caught:
            train(small_job(tmp_path, f"storage={storage}", "data.train=/nowhere.csv"))
        assert words in str(caught.value)
        assert "canary" not in str(caught.value)


# ---- disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disk_of("1m", tmp_path / "disk") as place:
        yield place


def fill(disk: Path) -> None:
    with open(disk / "full", "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_disk_that_fills_up_in_mid_job(reference, small_disk, tmp_path):
    with pytest.raises(StorageFailedError, match="the disk is full") as caught:
        train(small_job(tmp_path, storage="disk"), job_id="a", observer=At(70, lambda: fill(small_disk)))
    assert "the one of step 70 is kept" in str(caught.value)
    (small_disk / "full").unlink()
    assert CheckpointStore(small_disk / "a" / "checkpoints").steps()[-1] == 70
    assert resume(small_disk / "a").summary.parameters_sha256 == reference


def test_a_disk_that_is_full_for_a_while(reference, small_disk, tmp_path):
    """Two checkpoints are not written, and metrics wait in memory: training goes on, and in the end nothing is missing."""

    class Short(At):
        heard: ClassVar[list[str]] = []

        def warning(self, text: str) -> None:
            self.heard.append(text)
            if text.startswith("checkpoint of step 84"):
                (small_disk / "full").unlink()

    result = train(small_job(tmp_path, storage="disk"), job_id="a", observer=Short(70, lambda: fill(small_disk)))
    assert result.summary.parameters_sha256 == reference
    history = read_metrics(small_disk / "a" / "metrics.jsonl")
    assert [line["step"] for line in history.steps] == list(range(1, 401))
    assert history.torn <= 1
    told = [text for text in Short.heard if text.startswith("checkpoint of step")]
    assert [text.split(" not written")[0] for text in told] == ["checkpoint of step 77", "checkpoint of step 84"]
    assert "(2 failed in a row; 3 end the run)" in told[1]
    log = (small_disk / "a" / "log.txt").read_text()
    assert all(text in log for text in told)


def test_a_folder_that_becomes_read_only_in_mid_job(reference, tmp_path):
    checkpoints = tmp_path / "runs" / "a" / "checkpoints"

    def close_it() -> None:
        mount("--bind", checkpoints, checkpoints)
        mount("-o", "remount,bind,ro", checkpoints)

    try:
        with pytest.raises(
            StorageFailedError,
            match=r"step-00000091\.safetensors: cannot be written: the file system is read",
        ):
            train(small_job(tmp_path), job_id="a", observer=At(70, close_it))
    finally:
        subprocess.run(["umount", "-l", checkpoints], capture_output=True)
    assert CheckpointStore(checkpoints).steps()[-1] == 70
    assert json.loads((checkpoints.parent / "status.json").read_text())["state"] == "FAILED"
    assert resume(checkpoints.parent).summary.parameters_sha256 == reference


def test_workers_of_ray_read_their_rows_from_a_store(s3: S3, tmp_path):
    """With a Parquet table and storage in the bucket, on two workers."""
    import pyarrow.csv
    import pyarrow.parquet

    job = write_job(tmp_path, "training.max_steps=30")
    table = pyarrow.csv.read_csv(tmp_path / "table.csv")
    pyarrow.parquet.write_table(table, tmp_path / "table.parquet", row_group_size=7)
    here = train(dbp.Job.from_file(job, [f"data.train={tmp_path}/table.parquet"]), job_id="a").summary.parameters_sha256
    open_folder(s3.url).upload(tmp_path / "table.parquet", "data/table.parquet")
    shutil.rmtree(tmp_path / "runs")
    sets = ["--set", f"storage={s3.url}/runs", "--set", f"data.train={s3.url}/data/table.parquet"]
    done = subprocess.run(
        [DBP, "run", job, "--id", "a", "--json", "--quiet", "--workers", "2", *sets],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parameters_sha256"] == here
