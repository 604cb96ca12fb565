"""The status file: read back as written, lost jobs recognised."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dbp.errors import JobDirectoryError, StorageError
from dbp.jobs.clock import utc_now
from dbp.jobs.status import HEARTBEAT_LOST_S, Status, describe_state, next_attempt, read_status, write_status


def status(**changes: object) -> Status:
    now = utc_now()
    base = Status("digits-1", "RUNNING", 7, 200, 0.5, "", 1, now, os.getpid(), socket.gethostname(), now, 2)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]  # the tests name the fields


def test_a_status_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    assert read_status(path) is None
    for written in (status(), status(state="FAILED", loss=None, message="żółw\n")):
        write_status(path, written)
        assert read_status(path) == written
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", written.heartbeat)


def test_a_loss_that_is_not_finite_becomes_null(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    for loss in (float("nan"), float("inf"), float("-inf")):
        write_status(path, status(loss=loss))
        assert '"loss": null' in path.read_text()
        found = read_status(path)
        assert found is not None
        assert found.loss is None


def test_unknown_keys_of_later_versions_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_status(path, status())
    path.write_text(path.read_text().replace("{", '{"new": 1,', 1))
    assert read_status(path) is not None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{", "", "JSON: "),
        ('"RUNNING"', '"WALKING"', "state: "),
        ('"step": 7', '"step": "7"', "step: "),
        ('"step": 7,', "", "step: "),
        ('"workers": 2', '"workers": 2' + " " * 1_000_000, "larger than 1,000,000 bytes"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "status.json"
    write_status(path, status())
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(JobDirectoryError) as caught:
        read_status(path)
    assert str(caught.value).startswith(f"{path}: not a status file of dbp")
    assert words in str(caught.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match="a folder of that name is in the way"):
        read_status(path)


def test_a_running_job_whose_process_is_gone_is_lost() -> None:
    """Gone, dead but not yet waited for, and another process of the same number: all are LOST. Other states never are."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        running = status(pid=child.pid)
        assert describe_state(running).state == "RUNNING"
        assert describe_state(dataclasses.replace(running, heartbeat="2001-01-01T00:00:00Z")).state == "LOST"
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert describe_state(running).state == "LOST"
    lost = describe_state(running)
    assert lost.state == "LOST"
    assert lost.message == "stopped unexpectedly after step 7; continue with `dbp resume digits-1`"
    assert describe_state(dataclasses.replace(running, state="PENDING")).state == "LOST"
    assert describe_state(dataclasses.replace(running, host="elsewhere")).state == "RUNNING"  # its heart still beats
    assert describe_state(dataclasses.replace(running, state="FAILED", message="why")).message == "why"
    assert describe_state(status(pid=0, state="PENDING")).state == "PENDING"
    assert describe_state(status(pid=10**30)).state == "LOST"


def test_a_job_elsewhere_whose_heart_stopped_is_lost() -> None:
    """Nobody can look at another host's processes: what counts is when it was last heard of."""

    def silent_for(seconds: float, **changes: object) -> Status:
        then = (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return status(host="elsewhere", heartbeat=then, **changes)

    for state in ("PENDING", "RUNNING"):
        assert describe_state(silent_for(HEARTBEAT_LOST_S - 10, state=state)).state == state
        lost = describe_state(silent_for(HEARTBEAT_LOST_S + 2, state=state))
        assert lost.state == "LOST"
        assert "(host elsewhere); it stopped after step 7; continue with `dbp resume digits-1`" in lost.message
    assert "for 3 hours " in describe_state(silent_for(3 * 3600)).message
    assert describe_state(silent_for(10**6, state="STOPPED")).state == "STOPPED"
    assert describe_state(silent_for(-100)).state == "RUNNING"  # its clock is ahead of ours


def test_each_run_of_a_job_is_an_attempt() -> None:
    """Also one that waited first: its number was given out when it began to wait."""
    assert next_attempt(None) == 1
    assert next_attempt(status(state="FAILED", attempt=2)) == 3
    assert next_attempt(status(state="RUNNING", attempt=2)) == 3  # it was killed
    assert next_attempt(status(state="PENDING", attempt=2)) == 2
