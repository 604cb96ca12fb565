"""submit, list, status, logs, watch, cancel, resume, fetch, delete: in a pipe and on a terminal, on a real local service."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest
from service_session import DBP, RunningService, local_service

__all__ = ["local_service"]

ENDLESS = ("--set", "training.max_steps=10000000", "--set", "checkpoint.every=1000000", "--workers", "1")


@pytest.fixture
def job(local_service: RunningService, job_file_in: Callable[[Path], Path]) -> Path:
    """The small job, in the service's home folder."""
    return job_file_in(local_service.folder)


def started(service: RunningService, *arguments: object) -> subprocess.Popen[str]:
    """A command that is left running, and that hears Ctrl-C."""
    return subprocess.Popen(
        [DBP, *map(str, arguments)],
        cwd=service.folder,
        env=service.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_step(service: RunningService, job: str, step: int = 1) -> None:
    deadline = time.monotonic() + 120
    while True:
        status = json.loads(service.run("status", job, "--json").stdout)
        if (status["step"] or 0) >= step:
            return
        assert time.monotonic() < deadline, status
        time.sleep(0.3)


@pytest.mark.long
def test_a_job_handed_over_in_a_pipe(local_service: RunningService, job: Path) -> None:
    """Standard output has the id alone, progress is talk, the exit code says how it ended; the JSON is what programs rely on."""
    run = local_service.run
    done = run("submit", job, "--id", "piped", "--workers", 2, "--follow")
    assert (done.returncode, done.stdout) == (0, "piped\n"), done.stderr
    assert "piped: PENDING" in done.stderr
    assert re.search(r"piped: SUCCEEDED: training.max_steps \(20\) reached +\(step 20/20  loss ", done.stderr)
    assert "Traceback" not in done.stderr
    assert "UserWarning" not in done.stderr
    status = json.loads(run("status", "piped", "--json").stdout)
    assert list(status)[:5] == ["job", "state", "step", "loss", "message"]
    assert (status["job"], status["state"], status["step"]) == ("piped", "SUCCEEDED", 20)
    listed = json.loads(run("list", "--json").stdout)
    assert [each["state"] for each in listed if each["job"] == "piped"] == ["SUCCEEDED"]
    named = run("submit", job, "--json", "--workers", 0)
    assert list(json.loads(named.stdout)) == ["job"]
    again = run("submit", job, "--id", "piped")
    assert (again.returncode, again.stdout) == (2, "")
    assert "dbp resume piped" in again.stderr
    done = run("resume", "piped")
    assert done.returncode == 0
    assert "--set training.max_steps=N" in done.stderr
    refused = run("delete", "piped")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    name = json.loads(named.stdout)["job"]
    assert run("watch", name).stdout.splitlines()[-1].startswith(f"{name}: SUCCEEDED")
    assert run("delete", "piped", name, "--yes").returncode == 0  # at once, though its driver is only just ending


def test_a_job_left_cancelled_and_gone_on_with(local_service: RunningService, job: Path) -> None:
    run = local_service.run
    assert run("submit", job, "--id", "left", *ENDLESS).stdout == "left\n"
    wait_for_step(local_service, "left")
    for command in (("watch", "left"), ("logs", "-f", "left")):
        watching = started(local_service, *command)
        assert watching.stdout is not None
        seen = watching.stdout.readline()
        while "step" not in seen:
            line = watching.stdout.readline()
            assert line, watching.communicate()
            seen += line
        watching.send_signal(signal.SIGINT)
        _, talk = watching.communicate(timeout=60)
        assert watching.returncode == 130, talk
        assert "left goes on" in talk
        assert "dbp cancel left" in talk
    refused = run("delete", "left", "--yes")
    assert (refused.returncode, "dbp cancel left" in refused.stderr) == (2, True)
    assert json.loads(run("status", "left", "--json").stdout)["state"] == "RUNNING"
    cancelled = run("cancel", "left", "--json")
    assert (cancelled.returncode, json.loads(cancelled.stdout)["state"]) == (0, "STOPPED")
    again = run("cancel", "left")
    assert (again.returncode, again.stdout.startswith("left: already STOPPED")) == (0, True)
    step = json.loads(run("status", "left", "--json").stdout)["step"]
    assert json.loads(run("checkpoints", "left", "--json").stdout)[-1]["step"] == step
    missing = run("fetch", "left", "--step", step + 1)
    assert (missing.returncode, f"{step}" in missing.stderr) == (2, True)
    done = run("resume", "left", "--set", f"training.max_steps={step + 5}", "--follow")
    assert done.returncode == 0, done.stderr
    assert "== attempt 2 ==" in run("logs", "left").stdout
    fetched = run("fetch", "left", "-o", "got", "--json")
    files = json.loads(fetched.stdout)["files"]
    assert {Path(file["path"]).name for file in files} >= {"model.safetensors", "job.yaml", "metrics.jsonl"}
    assert run("evaluate", "got/model.safetensors", "table.csv").returncode == 0
    assert (
        run("resume", "left", "--here", "--workers", 0, "--set", f"training.max_steps={step + 9}", "-q").returncode == 0
    )
    assert run("delete", "left", "--yes").stdout == "deleted left\n"


def test_on_a_terminal(local_service: RunningService, job: Path) -> None:
    """The curve is drawn, Ctrl-C leaves the job and the cursor as they should be, and delete asks."""
    environment = {**local_service.environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}

    def typed(*arguments: object) -> pexpect.spawn[str]:
        return pexpect.spawn(
            str(DBP), [str(each) for each in arguments], cwd=str(local_service.folder), env=environment,
            encoding="utf-8", timeout=120, dimensions=(30, 110),
        )  # fmt: skip

    def left(terminal: pexpect.spawn[str]) -> None:
        terminal.sendcontrol("c")
        terminal.expect("detached; drawn goes on")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 130

    following = typed("submit", job, "--id", "drawn", *ENDLESS, "--follow")
    following.expect("drawn  RUNNING")
    following.expect("steps/s")
    following.expect("1 worker up")
    following.expect("left")
    following.expect("loss  [▁▂▃▄▅▆▇█]+")
    left(following)
    watching = typed("watch", "drawn")
    watching.expect("step [0-9]+/10000000")
    left(watching)
    assert local_service.run("cancel", "drawn").returncode == 0
    asking = typed("delete", "drawn")
    asking.expect(r"\[y/N\]")
    asking.sendline("n")
    asking.expect("nothing was deleted")
    asking.expect(pexpect.EOF)
    asking = typed("delete", "drawn")
    asking.expect(r"\[y/N\]")
    asking.sendline("y")
    asking.expect("deleted drawn")
    asking.expect(pexpect.EOF)


def test_a_job_of_this_machine_alone_is_watched_read_fetched_and_deleted(
    dbp: Callable[..., Any], trained: Path
) -> None:
    """No service is needed, none is asked."""
    watched = dbp("watch", "a-1")
    assert (watched.code, watched.out.startswith("a-1: SUCCEEDED")) == (0, True)
    assert "SUCCEEDED" in dbp("logs", "a-1").out.splitlines()[-1]
    assert dbp("cancel", "a-1").out.startswith("a-1: already SUCCEEDED")
    best = dbp("fetch", "a-1", "--step", "best", "-o", "best", "--json").json
    assert Path(best["files"][-1]["path"]).suffix == ".safetensors"
    assert dbp("fetch", "a-1", "-o", "best").code == 0  # the same job's: more of it
    assert (dbp("fetch", "a-1", "-o", "runs/a-1").code, dbp("fetch", "a-1", "-o", ".").code) == (2, 2)
    assert "there are those of steps" in dbp("fetch", "a-1", "--step", 3).err
    assert dbp("delete", "a-1", "--yes").out == "deleted a-1\n"
    assert not trained.exists()


def test_a_submitted_job_whose_service_is_gone(dbp: Callable[..., Any], trained: Path) -> None:
    """Its directory tells what it knows; resuming needs the service, or --here."""
    (trained / "submission.json").write_text('{"format": 1, "address": "http://head:8265", "attempt": 1}')
    assert dbp("status", "a-1", "--json").json["state"] == "SUCCEEDED"
    refused = dbp("resume", "a-1", "--set", "training.max_steps=30")
    assert (refused.code, "--here" in refused.err, "http://head:8265" in refused.err) == (2, True, True)
    assert dbp("resume", "a-1", "--here", "--set", "training.max_steps=30", "--json").json["steps"] == 30
