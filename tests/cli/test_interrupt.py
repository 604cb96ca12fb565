"""Ctrl-C: once stops after a checkpoint, twice at once; and what a kill leaves can be gone on with."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Dbp = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]

ENDLESS = ("--set", "training.max_steps=1000000", "--set", "checkpoint.every=1000000", "--id", "a-1")


def wait_for_steps(folder: Path, steps: int, process: subprocess.Popen[str]) -> None:
    """Return when the run has written that many steps."""
    metrics = folder / "runs/a-1/metrics.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= steps:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("no steps within a minute")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_stops_after_a_checkpoint(
    start: Start, dbp: Dbp, job_file: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Exit code 130, state STOPPED, a good checkpoint of the last step, and the command that goes on."""
    process = start("run", job_file, *ENDLESS)
    wait_for_steps(tmp_path, 3, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "stopping after this step; a checkpoint is written; press Ctrl-C again to stop at once" in err
    assert "dbp resume a-1" in err
    status = dbp("status", "a-1", "--json").json
    checkpoints = dbp("checkpoints", "a-1", "--json").json
    assert (status["state"], checkpoints[-1]["valid"]) == ("STOPPED", True)
    assert checkpoints[-1]["step"] == status["step"] >= 3
    assert f"{status['step']}" in out


def test_a_stopped_run_goes_on_to_the_same_bits(start: Start, dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    """Stopped, resumed: the parameters of a run that was never stopped; with --json, one object each."""
    process = start("run", job_file, *ENDLESS, "--json")
    wait_for_steps(tmp_path, 3, process)
    process.send_signal(signal.SIGINT)
    stopped = json.loads(process.communicate(timeout=30)[0])
    assert (process.returncode, stopped["state"]) == (130, "STOPPED")
    steps = stopped["steps"] + 7
    more = ("--set", f"training.max_steps={steps}")
    resumed = dbp("resume", "a-1", *more, "--json").json
    whole = dbp("run", job_file, *more, "--json").json
    assert (resumed["state"], resumed["steps"]) == ("SUCCEEDED", steps)
    assert resumed["parameters_sha256"] == whole["parameters_sha256"]


def test_two_signals_stop_at_once(start: Start, job_file: Path, tmp_path: Path) -> None:
    """Exit code 130 within a moment; no traceback."""
    slow = ("--set", "network.hidden=[2000, 2000]", "--set", "training.precision=float64")
    process = start("run", job_file, *ENDLESS, *slow)
    wait_for_steps(tmp_path, 1, process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "dbp resume a-1" in err


def test_a_killed_run_is_lost_and_goes_on_to_the_same_bits(
    start: Start, dbp: Dbp, job_file: Path, tmp_path: Path
) -> None:
    """kill -9 at some step: LOST, and `dbp resume` ends where an undisturbed run ends."""
    often = ("--set", "training.max_steps=1000000", "--set", "checkpoint.every=5")
    process = start("run", job_file, *often, "--id", "a-1")
    wait_for_steps(tmp_path, 40, process)
    process.kill()
    process.wait()
    assert dbp("status", "a-1", "--json").json["state"] == "LOST"
    steps = (tmp_path / "runs/a-1/metrics.jsonl").read_bytes().count(b"\n") + 50
    resumed = dbp("resume", "a-1", "--set", f"training.max_steps={steps}", "--json").json
    whole = dbp("run", job_file, "--set", f"training.max_steps={steps}", "--json").json
    assert resumed["steps"] == steps
    assert resumed["parameters_sha256"] == whole["parameters_sha256"]


def test_a_signal_that_was_ignored_stays_ignored(start: Start, job_file: Path, tmp_path: Path) -> None:
    """`nohup dbp run` goes on when its terminal closes."""

    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start("run", job_file, *ENDLESS, preexec_fn=nohup)
    wait_for_steps(tmp_path, 1, process)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_reader_that_leaves_does_not_end_the_run(start: Start, dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    """`dbp run JOB 2>&1 | head -1`: the talk falls silent, the job is trained to its end."""
    reader, writer = os.pipe()
    process = start("run", job_file, "--id", "a-1", "--set", "training.max_steps=500", stderr=writer)
    os.close(writer)
    os.close(reader)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert dbp("status", "a-1", "--json").json["state"] == "SUCCEEDED"


class Terminal:
    """A real terminal with `dbp` in its foreground: keys go in, the picture comes out."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.pid, self.file = pty.fork()
        if self.pid == 0:  # the child: its own session, the terminal is its controlling one
            os.chdir(folder)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            os.environ.update(TERM="xterm-256color", COLUMNS="100")
            os.execv(command[0], command)
        self.seen = ""

    def read_until(self, pattern: str, seconds: float = 90) -> None:
        """Read what is drawn until it matches."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            assert time.monotonic() < deadline, self.seen[-2000:]
            try:
                self.seen += os.read(self.file, 65536).decode(errors="replace")
            except OSError as error:
                raise AssertionError(f"ended before {pattern!r}: {self.seen[-2000:]}") from error

    def press_ctrl_c(self) -> None:
        """As a person does: the terminal itself sends SIGINT to everyone in its foreground, Ray's processes included."""
        os.write(self.file, b"\x03")

    def wait(self) -> int:
        """Read to the end and return the exit code."""
        while True:
            try:
                part = os.read(self.file, 65536)
            except OSError:
                break
            if not part:
                break
            self.seen += part.decode(errors="replace")
        os.close(self.file)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_on_a_terminal(dbp: Dbp, job_file: Path, tmp_path: Path, workers: int) -> None:
    """The bar is drawn, one Ctrl-C stops after a checkpoint; Ray's processes, which hear it too, do not spoil that."""
    command = [str(Path(sys.executable).with_name("dbp")), "run", str(job_file), *ENDLESS, "--workers", str(workers)]
    terminal = Terminal(command, tmp_path)
    terminal.read_until(r"step [1-9]\d*/1000000.*rows/s")
    terminal.press_ctrl_c()
    terminal.read_until("stopping after this step")
    assert terminal.wait() == 130, terminal.seen[-2000:]
    assert "dbp resume a-1" in terminal.seen
    assert "Traceback" not in terminal.seen
    status = dbp("status", "a-1", "--json").json
    assert status["state"] == "STOPPED"
    assert dbp("checkpoints", "a-1", "--json").json[-1]["step"] == status["step"]


def test_ctrl_c_twice_on_a_terminal(job_file: Path, tmp_path: Path) -> None:
    """The second one ends it at once, and the cursor is there again.

    With Ray: arrays in its shared memory, freed after it had stopped, once made the exit code that of a segmentation fault.
    """
    command = [str(Path(sys.executable).with_name("dbp")), "run", str(job_file), *ENDLESS, "--workers", "2"]
    terminal = Terminal([*command, "--set", "network.hidden=[2000, 2000]"], tmp_path)
    terminal.read_until(r"step [1-9]\d*/1000000.*rows/s")
    terminal.press_ctrl_c()
    terminal.read_until("stopping after this step")  # two signals at one moment would count as one
    terminal.press_ctrl_c()
    assert terminal.wait() == 130, terminal.seen[-2000:]
    assert "interrupted" in terminal.seen
    assert "Traceback" not in terminal.seen
    assert terminal.seen.rfind("\x1b[?25h") > terminal.seen.rfind("\x1b[?25l")
