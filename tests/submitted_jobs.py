"""Jobs in the folder that travels, as a client would stage them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from small_jobs import small_job

import dbp
from dbp.jobs.status import Status, read_status
from dbp.jobs.submission import Submission
from dbp.storage.atomic_files import write_json
from dbp.storage.remote import MissingFileError, open_folder


def stage(
    folder: Path,
    job_id: str,
    storage: Path | str,
    *overrides: str,
    inputs: bool = True,
    **changes: object,
) -> Path:
    """Write submission.json, job.yaml and inputs/ into `folder`; return it."""
    (folder / "inputs").mkdir(parents=True)
    job = small_job(folder, *overrides)
    text = job.to_yaml()
    if inputs:
        (folder / "table.csv").rename(folder / "inputs/table.csv")
        text = text.replace(str(folder / "table.csv"), "inputs/table.csv")
        changes = {"inputs": {"data.train": "inputs/table.csv"}, **changes}
    (folder / "job.yaml").write_text(text)
    values = {"attempt": 1, "action": "train", "dbp_version": dbp.__version__, **changes}
    write_json(folder / "submission.json", Submission(job_id, storage=str(storage), **values).to_json())  # type: ignore[arg-type]
    return folder


def stage_resume(
    folder: Path, job_id: str, storage: Path | str, attempt: int = 2, overrides: Sequence[str] = ()
) -> Path:
    """Write what a resume needs."""
    folder.mkdir(parents=True)
    submission = Submission(job_id, attempt, "resume", str(storage), list(overrides))
    write_json(folder / "submission.json", submission.to_json())
    return folder


def status_of(directory: Path | str) -> Status | None:
    """The status in a job directory, or at its URI."""
    with tempfile.TemporaryDirectory() as folder, suppress(MissingFileError):
        open_folder(directory).download("status.json", Path(folder) / "status.json")
        return read_status(Path(folder) / "status.json")
    return None


def wait_for(directory: Path | str, condition: Callable[[Status], bool], seconds: float = 120) -> Status:
    """Wait until a job's status is as wanted."""
    deadline = time.monotonic() + seconds
    while True:
        status = status_of(directory)
        if status is not None and condition(status):
            return status
        assert time.monotonic() < deadline, f"{status}\n{log_of(directory)}"
        time.sleep(0.05)


def log_of(directory: Path | str) -> str:
    folder = open_folder(directory)
    return folder.read("log.txt").decode() if folder.exists("log.txt") else ""


def sha256_of(directory: Path | str) -> str:
    return dbp.load_model(f"{directory}/model.safetensors").parameters_sha256


def undisturbed(folder: Path, *overrides: str) -> str:
    """The SHA-256 of the same job trained in this process."""
    job = small_job(folder, *overrides, "workers=0", storage="undisturbed")
    return dbp.train(job).summary.parameters_sha256


__all__ = ["json", "log_of", "sha256_of", "stage", "stage_resume", "status_of", "undisturbed", "wait_for"]
