"""Job directories: made whole, found by id or path, used by one process at a time."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dbp.errors import JobDirectoryError, StorageError
from dbp.jobs.directory import JobDirectory, check_job_id, check_storage, list_job_directories, new_job_id


def make(storage: Path, job_id: str) -> JobDirectory:
    directory = JobDirectory.create(storage, job_id)
    directory.job_file.write_text("name: a\n")
    return directory


def test_the_names_of_the_contract(tmp_path: Path) -> None:
    directory = JobDirectory.create(tmp_path / "runs" / "deep", "digits-1")
    assert (directory.path, directory.id) == (tmp_path / "runs" / "deep" / "digits-1", "digits-1")
    files = [directory.job_file, directory.status_file, directory.metrics_file, directory.environment_file]
    files += [directory.checkpoints, directory.model_file, directory.log_file]
    assert [file.name for file in files] == [
        "job.yaml", "status.json", "metrics.jsonl", "environment.json", "checkpoints", "model.safetensors", "log.txt",
    ]  # fmt: skip
    assert all(file.parent == directory.path for file in files)
    assert stat.S_IMODE(directory.path.stat().st_mode) & 0o077 == 0
    assert os.listdir(directory.path) == []


def test_an_existing_directory_is_never_taken_over(tmp_path: Path) -> None:
    make(tmp_path, "digits")
    with pytest.raises(JobDirectoryError) as caught:
        JobDirectory.create(tmp_path, "digits")
    assert str(caught.value) == (
        f"{tmp_path / 'digits'}: the job directory exists already; continue that job with `dbp resume digits`, "
        "or give the new one another --id"
    )
    assert (tmp_path / "digits" / "job.yaml").read_text() == "name: a\n"


def test_files_in_the_way(tmp_path: Path) -> None:
    """Of the job directory, of the storage folder, and above it."""
    (tmp_path / "file").write_bytes(b"")
    for storage, words in {
        tmp_path: f"{tmp_path / 'file'}: cannot be made: something of that name is in the way",
        tmp_path / "file": f"{tmp_path / 'file'}: cannot be made: something of that name is in the way",
        tmp_path / "file" / "x": "cannot be made: a part of the path is a file, not a folder",
    }.items():
        with pytest.raises(StorageError) as caught:
            JobDirectory.create(storage, "file")
        assert words in str(caught.value)
    with pytest.raises(
        StorageError, match="ftp:/b/runs: storage of kind 'ftp'; expected a folder or a URI that starts with s3://"
    ):
        JobDirectory.create(Path("ftp://b/runs"), "a")


@pytest.mark.parametrize("bad", ["", ".", "..", "../x", "/x", "a/b", "-x", ".x", "a b", "a\n", "a\0", "é", "x" * 101])
def test_ids_are_plain_names(tmp_path: Path, bad: str) -> None:
    with pytest.raises(JobDirectoryError, match="cannot be a job id; expected 1 to 100 letters"):
        check_job_id(bad)
    with pytest.raises(JobDirectoryError):
        JobDirectory.create(tmp_path / "runs", bad)
    assert not (tmp_path / "runs").exists()


def test_new_ids_have_name_time_and_a_number_when_taken(tmp_path: Path) -> None:
    now = datetime(2026, 1, 31, 9, 5, 7, tzinfo=UTC)
    for expected in ("digits-20260131-090507", "digits-20260131-090507-2", "digits-20260131-090507-3"):
        job_id = new_job_id("digits", tmp_path, now)
        assert job_id == expected
        JobDirectory.create(tmp_path, job_id)
    longest = new_job_id("x" * 63)
    check_job_id(longest + "-1000")


def test_finding_by_id_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make(tmp_path / "runs", "digits-20260131-090507")
    monkeypatch.chdir(directory.path)
    for text in ("digits-20260131-090507", str(directory.path), ".", "../digits-20260131-090507/"):
        assert JobDirectory.find(text, tmp_path / "runs") == directory


def test_unknown_ids_suggest_the_nearest(tmp_path: Path) -> None:
    """By the start of the name (newest first), then by likeness; and paths that are no job directory are told as such."""
    for job_id in ("digits-20260131-090507", "digits-20260201-080000", "wine-1"):
        make(tmp_path, job_id)
    cases = {
        "digits": "did you mean digits-20260201-080000 or digits-20260131-090507?",
        "wine-2": "did you mean wine-1?",
        "zzz": f'"zzz": no job of that id in {tmp_path}, and no folder of that name; `dbp list` shows the jobs there are',
        "": "no job of that id",
        "a\0b": "no job of that id",
        "../x": "../x: no such folder; expected a job directory",
        str(tmp_path): "holds no job.yaml; expected a job directory",
        str(tmp_path / "wine-1" / "job.yaml"): "a file; expected a job directory",
    }
    for text, words in cases.items():
        with pytest.raises(JobDirectoryError) as caught:
            JobDirectory.find(text, tmp_path)
        assert words in str(caught.value)


def test_listing_shows_job_directories_only(tmp_path: Path) -> None:
    assert list_job_directories(tmp_path / "none") == []
    make(tmp_path, "b")
    make(tmp_path, "a")
    JobDirectory.create(tmp_path, "half-made")
    (tmp_path / "file").write_bytes(b"")
    assert [directory.id for directory in list_job_directories(tmp_path)] == ["a", "b"]
    with pytest.raises(StorageError, match="a part of the path is a file"):
        list_job_directories(tmp_path / "file")


def test_checking_storage_leaves_nothing(tmp_path: Path) -> None:
    check_storage(tmp_path / "new" / "deeper")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_bytes(b"")
    for storage in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(StorageError, match=r"cannot take a job directory: a part of the path is a file"):
            check_storage(storage)
    with pytest.raises(StorageError, match="expected a folder or a URI"):
        check_storage(Path("ftp://bucket/runs"))
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="cannot take a job directory: no such file or folder"):
        check_storage(tmp_path / "dangling")
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file"]


@contextmanager
def another_users_folder() -> Iterator[Path]:
    """A folder that user 65534 may look into and not write to, outside pytest's private folders."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        assert os.listdir(folder) == []


def test_a_folder_without_permission_to_write() -> None:
    """As an ordinary user; for root, who may do everything, in a child process that has given that up."""
    with another_users_folder() as folder:
        if os.geteuid() != 0:
            folder.chmod(0o555)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setuid(65534)
                messages = []
                for attempt in (check_storage, lambda storage: JobDirectory.create(storage, "a")):
                    try:
                        attempt(folder / "runs")
                    except StorageError as error:
                        messages.append(str(error))
                words = "permission denied (user "
                code = 0 if len(messages) == 2 and all(words in message for message in messages) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        folder.chmod(0o755)


HOLDER = """
import sys
from pathlib import Path
from dbp.jobs.directory import JobDirectory
with JobDirectory.open(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_and_kill_9_frees_the_lock(tmp_path: Path) -> None:
    directory = make(tmp_path, "a")
    command = [sys.executable, "-c", HOLDER, str(directory.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(JobDirectoryError) as caught, directory.locked():
            pass
        pattern = (
            rf": in use by pid {holder.pid} on host \S+ since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ; one process at a time"
        )
        caught.match(pattern)
        (directory.path / ".dbp-0123.tmp.json").write_bytes(b"half")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with directory.locked():
        leases = ["lease-00000001.json", "lease-00000002.json"]
        assert sorted(os.listdir(directory.path)) == [".lock", "job.yaml", *leases]


def test_a_lock_is_not_shared_within_a_process_and_survives_odd_contents(tmp_path: Path) -> None:
    directory = make(tmp_path, "a")
    directory.lock_file.write_bytes(b"\xff not JSON")
    with directory.locked():
        with pytest.raises(JobDirectoryError, match=f"in use by pid {os.getpid()} on host"), directory.locked():
            pass
        directory.lock_file.write_bytes(b'{"pid": "x"}')
        with pytest.raises(JobDirectoryError, match="in use by another process"), directory.locked():
            pass
    with directory.locked():
        pass
    assert directory.lock_file.read_bytes() == b""


def test_a_linked_lock_file_is_refused(tmp_path: Path) -> None:
    """Otherwise the lock's note would overwrite what the link points to."""
    directory = make(tmp_path, "a")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    directory.lock_file.symlink_to(victim)
    with pytest.raises(StorageError, match="symbolic links, or is one"), directory.locked():
        pass
    assert victim.read_text() == "mine"
