"""A run whose surroundings are odd or change under it: its folder goes, its clock jumps, it may open few files, it is frozen."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dbp.storage.checkpoints import CheckpointStore

Dbp = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]
DBP = Path(sys.executable).with_name("dbp")
ENDLESS = ("--set", "training.max_steps=1000000", "--id", "a-1")


def wait_for_steps(folder: Path, steps: int, process: subprocess.Popen[str]) -> None:
    """Return when the run has written that many steps."""
    metrics = folder / "runs/a-1/metrics.jsonl"
    deadline = time.monotonic() + 60
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < steps:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_frozen_run_keeps_its_directory(start: Start, dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    """SIGSTOP, as a debugger does it: nobody else can have the job meanwhile, and it goes on as if nothing had been."""
    process = start("run", job_file, "--id", "a-1", "--set", "training.max_steps=3000", "--set", "checkpoint.every=100")
    wait_for_steps(tmp_path, 10, process)
    process.send_signal(signal.SIGSTOP)
    second = dbp("resume", "a-1")
    assert second.code == 2
    assert f"in use by pid {process.pid}" in second.err
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    whole = dbp("run", job_file, "--set", "training.max_steps=3000", "--json").json
    assert dbp("resume", "a-1", "--json").json["parameters_sha256"] == whole["parameters_sha256"]


def removed_whole(folder: Path) -> None:
    """Remove a folder that somebody writes into, as a second `rm -r` would after "directory not empty"."""
    for _ in range(100):
        with suppress(OSError):
            shutil.rmtree(folder)
            return
    shutil.rmtree(folder)


def test_a_job_directory_that_is_deleted_under_its_run(start: Start, job_file: Path, tmp_path: Path) -> None:
    """One sentence that names it; no loop, no traceback, and the directory is not made anew."""
    process = start("run", job_file, *ENDLESS, "--set", "checkpoint.every=50")
    wait_for_steps(tmp_path, 10, process)
    removed_whole(tmp_path / "runs/a-1")
    _, err = process.communicate(timeout=60)
    assert process.returncode in (1, 2), err
    assert "Traceback" not in err
    assert "runs/a-1" in err
    assert "no such file or folder" in err
    assert not (tmp_path / "runs/a-1").exists(), list((tmp_path / "runs/a-1").rglob("*"))


@pytest.mark.parametrize("limit", [8, 12, 16, 24, 40])
def test_a_process_that_may_open_few_files(start: Start, job_file: Path, tmp_path: Path, limit: int) -> None:
    """It works, or says so in words; whatever it wrote is whole."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    process = start("run", job_file, "--id", "a-1", preexec_fn=few)
    _, err = process.communicate(timeout=60)
    if process.returncode != 0:
        assert process.returncode in (1, 2), err
        assert "too many open files" in err.lower(), err
        assert "Traceback" not in err
    entries = CheckpointStore(tmp_path / "runs/a-1/checkpoints").listing()
    assert [entry.problem for entry in entries] == [None] * len(entries)
    assert process.returncode != 0 or len(entries) > 0


@pytest.fixture(scope="module")
def jumping_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("clock") / "jumping_clock.so"
    source = Path(__file__).with_name("jumping_clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def test_a_clock_that_jumps(dbp: Dbp, job_file: Path, tmp_path: Path, jumping_clock: Path) -> None:
    """By years, back and forth, all the time: no bit changes, the newest checkpoint is the newest, and a resume goes on from it."""
    jumps = {"LD_PRELOAD": str(jumping_clock)}
    years = "import datetime; print(len({datetime.datetime.now().year for _ in range(40)}))"
    environment = {**os.environ, **jumps}
    assert subprocess.check_output([sys.executable, "-c", years], env=environment, text=True) == "3\n"
    whole = dbp("run", job_file, "--set", "training.max_steps=40", "--json").json
    first = dbp("run", job_file, "--id", "a-1", env=jumps)
    assert first.code == 0, first.err
    listed = dbp("checkpoints", "a-1", "--json", env=jumps).json
    assert [entry["step"] for entry in listed if entry["valid"]][-1] == 20
    again = dbp("resume", "a-1", "--set", "training.max_steps=40", "--json", env=jumps)
    assert again.code == 0, again.err
    assert again.json["parameters_sha256"] == whole["parameters_sha256"]
    assert dbp("verify", "a-1").code == 0


def test_an_empty_environment(job_file: Path, tmp_path: Path) -> None:
    """No HOME, no PATH, no language, no terminal."""
    done = subprocess.run(
        [DBP, "run", job_file, "--id", "a-1", "--json"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("parameters_sha256") == 1


@pytest.mark.parametrize("name", ["with spaces", "größe ✓", "n" * 255, "quo'te\"s", "-o"])
def test_folders_of_odd_names(job_file: Path, tmp_path: Path, name: str) -> None:
    """Jobs are kept there and gone on with."""
    folder = os.fsencode(tmp_path) + b"/" + os.fsencode(name)
    os.mkdir(folder)
    for command in (
        ["run", job_file, "--id", "a-1", "--storage", folder],
        ["resume", folder + b"/a-1", "--set", "training.max_steps=25"],
        ["status", folder + b"/a-1", "--json"],
    ):
        done = subprocess.run([DBP, *command], cwd=tmp_path, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
    assert b'"SUCCEEDED"' in done.stdout


def test_a_folder_whose_name_is_no_text_is_refused(job_file: Path, tmp_path: Path) -> None:
    """Its name could not be written into job.yaml."""
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    done = subprocess.run([DBP, "run", job_file, "--storage", b"\xff"], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 2
    assert b"storage: text that is not valid Unicode" in done.stderr
    assert os.listdir(os.fsencode(tmp_path) + b"/\xff") == []


def test_what_a_kill_after_the_end_leaves_is_in_nobodys_way(dbp: Dbp, trained: Path) -> None:
    """A run that is killed between SUCCEEDED and giving up its lease may leave half a file. Nothing reads it."""
    left = trained / ".dbp-0123456789abcdef.tmp.json"
    left.write_bytes(b'{"half')
    assert dbp("verify", "a-1").code == 0
    assert dbp("status", "a-1", "--json").json["state"] == "SUCCEEDED"
    assert dbp("predict", "a-1", "table.csv", "-o", "out.csv").code == 0
    assert dbp("resume", "a-1").code == 0  # done already: it takes no lock, so it removes nothing
    assert dbp("resume", "a-1", "--set", "training.max_steps=25").code == 0
    assert not left.exists()
