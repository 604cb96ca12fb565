"""What a run that was killed left on this machine: never wins over what is newer, never vanishes in silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest

from dbp.errors import JobDirectoryError, LeaseLostError, StorageError
from dbp.jobs.directory import JobDirectory, list_job_directories
from dbp.jobs.working_folder import working_root
from dbp.storage.checkpoints import Checkpoint
from dbp.storage.folder import Folder
from dbp.storage.remote import open_folder


@pytest.fixture
def storage() -> str:
    return f"memory://{uuid.uuid4().hex}/runs"


def checkpoint(step: int, value: float = 0.0) -> Checkpoint:
    return Checkpoint(step, {"parameters": np.full(4, value)}, {})


def never(path, reason):
    raise AssertionError(f"{path}: {reason}")


def new_job(storage: str) -> JobDirectory:
    directory = JobDirectory.create(storage, "a")
    directory.job_file.write_text("name: a\n")
    directory.put(directory.job_file)
    return directory


def test_a_job_is_worked_on_here_and_kept_there(storage: str) -> None:
    directory = new_job(storage)
    with directory.locked():
        assert directory.path.is_relative_to(working_root())
        assert directory.path.stat().st_mode & 0o077 == 0
        directory.metrics_file.write_text("one\n")
        directory.soon(directory.metrics_file)
        directory.checkpoint_store().save(checkpoint(5))
    assert directory.place == f"{storage}/a"
    assert list(working_root().iterdir()) == []
    again = JobDirectory.open(f"{storage}/a", to_write=True)
    with again.locked():
        assert again.job_file.read_text() == "name: a\n"
        assert again.metrics_file.read_text() == "one\n"
        assert again.checkpoint_store().newest(never).step == 5
    assert open_folder(storage).child("a").names() == [
        "checkpoints", "job.yaml", "lease-00000001.json", "lease-00000002.json", "metrics.jsonl",
    ]  # fmt: skip


def test_an_existing_directory_is_never_taken_over(storage: str) -> None:
    with new_job(storage).locked():
        pass
    with pytest.raises(
        JobDirectoryError, match=f"{storage}/a: the job directory exists already; continue that job with"
    ):
        JobDirectory.create(storage, "a")
    assert list(working_root().iterdir()) == []


def test_jobs_are_found_by_id_and_uri(storage: str) -> None:
    with new_job(storage).locked():
        pass
    open_folder(storage).write("not-a-job/x", b"")
    assert [each.place for each in list_job_directories(storage)] == [f"{storage}/a"]
    for text in ("a", f"{storage}/a"):
        found = JobDirectory.find(text, storage)
        found.fetch(found.job_file)
        assert found.job_file.read_text() == "name: a\n"
    with pytest.raises(JobDirectoryError, match="did you mean a") as caught:
        JobDirectory.find("aa", storage)
    assert f"no job of that id in {storage}" in str(caught.value)
    with pytest.raises(JobDirectoryError, match=f"{storage}/b: holds no job.yaml; expected a job directory"):
        JobDirectory.find(f"{storage}/b", "runs")


def test_a_second_run_is_refused_and_a_forced_one_fences_off_the_first(storage: str) -> None:
    first = new_job(storage)
    with pytest.raises(LeaseLostError), first.locked():  # noqa: PT012 -- it is the end of the block that raises
        store = first.checkpoint_store()
        store.save(checkpoint(5, 1))
        second = JobDirectory.open(f"{storage}/a", to_write=True)
        with pytest.raises(JobDirectoryError, match="in use by pid"), second.locked():
            pass
        with second.locked(force=True):
            mine = second.checkpoint_store()
            assert mine.newest(never).step == 5
            with pytest.raises(LeaseLostError):
                store.save(checkpoint(6, 1))
            assert mine.save(checkpoint(6, 2))
        first.status_file.write_text("{}")
        first.soon(first.status_file)
        first.check_lease()
    assert not open_folder(storage).child("a").exists("status.json")
    third = JobDirectory.open(f"{storage}/a", to_write=True)
    with third.locked():
        found = third.checkpoint_store().newest(never)
        assert (found.step, found.arrays["parameters"][0]) == (6, 2)


def test_a_forced_run_fences_off_the_older_one_in_a_local_folder(tmp_path: Path) -> None:
    directory = JobDirectory.create(tmp_path, "a")
    directory.job_file.write_text("name: a\n")
    from dbp.jobs.lease import Owner, claim

    with pytest.raises(LeaseLostError), directory.locked():  # noqa: PT012
        store = directory.checkpoint_store()
        store.save(checkpoint(5))
        claim(open_folder(directory.path), Owner("another-host", 7), force=True)  # a supervisor on another node
        store.save(checkpoint(6))
    assert store.steps() == [5]


# ---- leftovers

KILLED = """
import os, signal, sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from dbp.jobs.directory import JobDirectory
from dbp.storage.checkpoints import Checkpoint, CheckpointStore
directory = JobDirectory.create(sys.argv[1], "a")
directory.job_file.write_text("name: a\\n")
directory.put(directory.job_file)
with directory.locked():
    directory.metrics_file.write_text("one\\n")
    directory.soon(directory.metrics_file)
    directory.checkpoint_store().save(Checkpoint(5, {"parameters": np.full(4, 5.0)}, {}))
    with open(directory.metrics_file, "a") as file:
        file.write("two\\n")
    # written here, and the machine went down before it was sent
    CheckpointStore(directory.checkpoints).save(Checkpoint(6, {"parameters": np.full(4, 6.0)}, {}))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(s3) -> Folder:
    """A job whose run was killed on this machine; its folder at the URI."""
    storage = f"{s3.url}/runs"
    tests = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", KILLED, storage, tests], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(working_root().iterdir())) == 1
    return open_folder(storage).child("a")


def test_what_nobody_has_written_over_since_is_taken_over(killed: Folder) -> None:
    heard: list[str] = []
    directory = JobDirectory.open(killed.uri, to_write=True)
    with directory.locked(warn=heard.append):
        assert directory.metrics_file.read_text() == "one\ntwo\n"
        assert directory.checkpoint_store().newest(never).step == 6
        assert killed.child("checkpoints/e00000002").names() == ["step-00000006.safetensors"]
    assert killed.read("metrics.jsonl") == b"one\ntwo\n"
    assert "left files on this machine" in heard[0]
    assert "step-00000006.safetensors, metrics.jsonl" in heard[0]
    assert list(working_root().iterdir()) == []


def test_what_a_later_run_elsewhere_wrote_wins(killed: Folder, tmp_path: Path, monkeypatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
        directory = JobDirectory.open(killed.uri, to_write=True)
        with directory.locked():
            store = directory.checkpoint_store()
            assert store.newest(never).step == 5
            store.save(checkpoint(6, 66))
            directory.metrics_file.write_text("one\nTWO\n")
            directory.soon(directory.metrics_file)
    heard: list[str] = []
    directory = JobDirectory.open(killed.uri, to_write=True)
    with directory.locked(warn=heard.append):
        assert directory.metrics_file.read_text() == "one\nTWO\n"
        found = directory.checkpoint_store().newest(never)
        assert (found.step, found.arrays["parameters"][0]) == (6, 66)
    assert heard == []
    assert list(working_root().iterdir()) == []


def test_what_is_left_of_a_job_that_was_deleted_is_not_taken_for_the_new_one_of_its_name(killed: Folder) -> None:
    killed.clear()
    directory = JobDirectory.create(killed.uri.rpartition("/")[0], "a")
    directory.job_file.write_text("name: another\n")
    directory.put(directory.job_file)
    with directory.locked():
        pass
    again = JobDirectory.open(killed.uri, to_write=True)
    with again.locked():
        assert again.checkpoint_store().newest(never) is None
        assert not again.metrics_file.exists()


def test_a_damaged_leftover_is_passed_over(killed: Folder) -> None:
    (place,) = working_root().rglob("step-00000006.safetensors")
    place.write_bytes(place.read_bytes()[:-10])
    passed: list[object] = []
    directory = JobDirectory.open(killed.uri, to_write=True)
    with directory.locked():
        found = directory.checkpoint_store().newest(lambda path, reason: passed.append(path))
        assert found.step == 5
    assert len(passed) == 1


def test_what_cannot_be_brought_to_the_uri_at_the_end_is_kept_here_and_said(chaos) -> None:
    from chaos import Fault

    directory = new_job("chaos://b/runs")
    with pytest.raises(StorageError, match=r"log\.txt: cannot be written: access denied") as caught, directory.locked():  # noqa: PT012
        directory.log_file.write_text("line\n")
        directory.soon(directory.log_file)
        chaos.faults.append(Fault("put", "403", None, "log.txt"))
    (note,) = caught.value.__notes__
    assert note == (
        f"what did not reach chaos://b/runs/a is kept in {directory.path}; `dbp resume` on this machine takes it over"
    )
    chaos.faults.clear()
    os.close(directory.hold.working._lock)  # as when the process ends
    again = JobDirectory.open("chaos://b/runs/a", to_write=True)
    with again.locked():
        assert again.log_file.read_text() == "line\n"
    assert open_folder("chaos://b/runs/a").read("log.txt") == b"line\n"
