"""The status file while a job is under way: its heart beats however long a step takes."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import dbp.training.status_keeper as module
from dbp.errors import JobFailedError, StorageError
from dbp.jobs.clock import utc_now
from dbp.jobs.status import Status, read_status
from dbp.training.status_keeper import HEARTBEAT_S, StatusKeeper


def running(**changes: object) -> Status:
    base = Status(
        "a-1", "RUNNING", 0, 9, None, "training", 1, "2001-01-01T00:00:00Z", os.getpid(), "here", utc_now(), 2
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def wait_until(condition: object) -> None:
    deadline = time.monotonic() + 30
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_heart_beats_while_nothing_happens(tmp_path: Path) -> None:
    """Each beat replaces the file; the last step noted is in it."""
    path = tmp_path / "status.json"
    keeper = StatusKeeper(path, running(), heartbeat_s=0.05)
    try:
        seen = set()
        for _ in range(3):
            seen.add(path.stat().st_mtime_ns)
            wait_until(lambda: path.stat().st_mtime_ns not in seen)
        keeper.note(running(step=5))
        wait_until(lambda: (read_status(path) or running()).step == 5)
        found = read_status(path)
        assert found is not None
        assert found.heartbeat > "2002"
    finally:
        keeper.close()
    assert threading.active_count() == 1 or not any(each.name == "heartbeat" for each in threading.enumerate())
    path.unlink()
    time.sleep(0.2)
    assert not path.exists()


def test_the_beat_is_well_within_what_readers_wait_for() -> None:
    from dbp.jobs.status import HEARTBEAT_LOST_S

    assert HEARTBEAT_S <= 5
    assert HEARTBEAT_LOST_S >= 5 * HEARTBEAT_S


def test_a_disk_without_room_is_told_to_training_and_not_by_the_heart(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    keeper = StatusKeeper(folder / "status.json", running(), heartbeat_s=0.05)
    try:
        (folder / "status.json").unlink()
        folder.rmdir()
        time.sleep(0.2)
        with pytest.raises(StorageError, match="cannot be written"):
            keeper.write(running(step=1))
        folder.mkdir()
        wait_until((folder / "status.json").exists)  # the heart tries again
    finally:
        keeper.close()


def test_what_ends_a_job_reaches_training_though_the_heart_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone else owns the job directory now: the next write says so."""
    keeper = StatusKeeper(tmp_path / "status.json", running(), heartbeat_s=0.05)

    def fenced(path: Path, status: Status) -> None:
        raise JobFailedError("a newer run owns this directory")

    try:
        monkeypatch.setattr(module, "write_status", fenced)
        wait_until(lambda: not keeper._heart.is_alive())
        monkeypatch.undo()
        with pytest.raises(JobFailedError, match="a newer run"):
            keeper.note(running(step=1))
    finally:
        keeper.close()
