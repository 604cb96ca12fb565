"""list, status, checkpoints and plot, on job directories made by hand: so every state can be shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbp.cli.curves import Curve, draw_picture, draw_text
from dbp.jobs.directory import JobDirectory
from dbp.jobs.metrics import MetricsWriter
from dbp.jobs.status import Status, WorkersRange, read_status, write_status
from dbp.storage.checkpoints import Checkpoint, CheckpointStore

NO_PROCESS = 2**22 + 1  # above Linux's largest process id

Dbp = Callable[..., Any]
MakeJob = Callable[..., JobDirectory]


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """``make_job("a-1", state="FAILED")`` makes its directory below runs/."""

    def make(
        job: str, losses: tuple[float | None, ...] = (0.5,), storage: str = "runs", **changes: Any
    ) -> JobDirectory:
        directory = JobDirectory.create(tmp_path / storage, job)
        directory.job_file.write_text("name: x\n")
        facts: dict[str, Any] = {
            "state": "SUCCEEDED",
            "step": len(losses),
            "max_steps": 20,
            "loss": losses[-1] if losses else None,
            "message": "training.max_steps (20) reached",
            "attempt": 1,
            "heartbeat": "2026-01-31T09:05:00Z",
            "pid": os.getpid(),
            "host": os.uname().nodename,
            "started": "2026-01-31T09:00:00Z",
            "workers": 2,
        }
        write_status(directory.status_file, Status(job=job, **{**facts, **changes}))
        with MetricsWriter(directory.metrics_file) as metrics:
            for step, loss in enumerate(losses, start=1):
                metrics.write({"step": step, "loss": loss, "validation_loss": loss if step % 2 == 0 else None})
        return directory

    return make


def test_list_shows_every_job_with_its_state(dbp: Dbp, make_job: MakeJob) -> None:
    """One line per job below the headings, in a pipe too."""
    make_job("a-1")
    make_job("b-1", state="FAILED", message="the loss became nan at step 3", loss=None)
    ran = dbp("list")
    heading, *lines = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert heading.split() == ["JOB", "STATE", "STEP", "LOSS", "WORKERS", "STARTED", "MESSAGE"]
    assert [line.split()[:2] for line in lines] == [["a-1", "SUCCEEDED"], ["b-1", "FAILED"]]


def test_a_range_of_workers_is_shown_with_their_number(dbp: Dbp, make_job: MakeJob) -> None:
    """By list and status; a job without a range has its number alone, and its status file says nothing of one."""
    plain, elastic = make_job("a-1"), make_job("b-1")
    status = read_status(elastic.status_file)
    assert status is not None
    write_status(elastic.status_file, replace(status, workers=3, workers_range=WorkersRange(2, 16)))
    (line,) = (line for line in dbp("list").out.splitlines() if line.startswith("b-1"))
    assert "3 (2 to 16)" in line
    assert "workers    3 (2 to 16)" in dbp("status", "b-1").out
    facts = dbp("status", "b-1", "--json").json
    assert (facts["workers"], facts["workers_range"]) == (3, {"min": 2, "max": 16})
    assert "workers_range" not in plain.status_file.read_text()


def test_list_json_is_a_list_of_objects(dbp: Dbp, make_job: MakeJob) -> None:
    """A loss that is not there is null."""
    make_job("a-1", losses=(0.5, 0.25))
    make_job("b-1", losses=())
    jobs = dbp("list", "--json").json
    assert [(job["job"], job["state"], job["step"], job["loss"]) for job in jobs] == [
        ("a-1", "SUCCEEDED", 2, 0.25),
        ("b-1", "SUCCEEDED", 0, None),
    ]


def test_list_of_nothing(dbp: Dbp) -> None:
    """No jobs is no error: nothing on stdout, a hint on stderr, and an empty list as JSON."""
    ran = dbp("list")
    assert (ran.code, ran.out) == (0, "")
    assert "no jobs in runs" in ran.err
    assert dbp("list", "--json").json == []


def test_list_looks_into_the_storage_it_is_told(dbp: Dbp, make_job: MakeJob) -> None:
    """--storage names another folder."""
    make_job("a-1")
    make_job("b-1", storage="elsewhere")
    assert [job["job"] for job in dbp("list", "--json", "--storage", "elsewhere").json] == ["b-1"]


def test_a_dead_run_is_lost(dbp: Dbp, make_job: MakeJob) -> None:
    """A status that says RUNNING, of a process that is gone, is shown as LOST with the command that helps."""
    make_job("a-1", state="RUNNING", pid=NO_PROCESS)
    status = dbp("status", "a-1", "--json").json
    assert (status["job"], status["state"], status["step"]) == ("a-1", "LOST", 1)
    assert "dbp resume a-1" in status["message"]
    assert "LOST" in dbp("list").out


def test_a_damaged_status_hides_no_other_job(dbp: Dbp, make_job: MakeJob) -> None:
    """The list goes on past a status file that cannot be read."""
    make_job("a-1").status_file.write_text("{")
    make_job("b-1")
    jobs = dbp("list", "--json").json
    assert [job["state"] for job in jobs] == ["UNKNOWN", "SUCCEEDED"]
    assert "not a status file" in jobs[0]["message"]


def test_a_job_is_named_by_id_or_by_directory(dbp: Dbp, make_job: MakeJob) -> None:
    """Both name the same job, with or without a slash at the end."""
    make_job("a-1")
    shown = [dbp("status", name, "--json").json for name in ("a-1", "runs/a-1", "runs/a-1/")]
    assert shown[0] == shown[1] == shown[2]


def test_an_unknown_job_suggests_near_ones(dbp: Dbp, make_job: MakeJob) -> None:
    """Exit code 2, and the id that was probably meant."""
    make_job("digits-20260131-090000")
    ran = dbp("status", "digit-20260131-090000")
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean digits-20260131-090000?" in ran.err


@pytest.mark.parametrize(
    ("command", "name"),
    [(command, "nothing") for command in ("status", "checkpoints", "plot", "resume")]
    + [("status", name) for name in ("", ".", "../x", "\x1b[31mred")],
)
def test_no_such_job(dbp: Dbp, tmp_path: Path, command: str, name: str) -> None:
    """Every command that reads a job says so: exit code 2, no traceback, no control characters, nothing made."""
    ran = dbp(command, name)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err
    assert "\x1b" not in ran.err
    assert list(tmp_path.iterdir()) == []


def test_control_characters_of_files_do_not_reach_the_terminal(dbp: Dbp, make_job: MakeJob) -> None:
    """A message from a status file cannot move the cursor or set the window's title."""
    make_job("a-1", message="\x1b]0;owned\x07\x9b31mred\nsecond \u202eline")
    for command in (("list",), ("status", "a-1")):
        out = dbp(*command).out
        assert "owned" in out
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out)
    assert dbp("list", "--json").json[0]["message"].startswith("\x1b]0;owned")


def test_checkpoints_are_checked(dbp: Dbp, make_job: MakeJob) -> None:
    """A flipped bit makes a checkpoint damaged; the others are valid."""
    store = CheckpointStore(make_job("a-1").checkpoints)
    for step in (5, 10):
        store.save(Checkpoint(step, {"parameters": np.arange(8.0)}))
    path = store.path(10)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = dbp("checkpoints", "a-1", "--json").json
    assert [(entry["step"], entry["valid"], entry["bytes"]) for entry in found] == [
        (5, True, len(data)),
        (10, False, len(data)),
    ]
    text = dbp("checkpoints", "a-1").out
    assert "valid" in text.splitlines()[1]
    assert "damaged" in text.splitlines()[2]


def test_a_job_without_checkpoints(dbp: Dbp, make_job: MakeJob) -> None:
    """No checkpoint is no error."""
    make_job("a-1")
    ran = dbp("checkpoints", "a-1")
    assert (ran.code, ran.out) == (0, "")
    assert "no checkpoint yet" in ran.err
    assert dbp("checkpoints", "a-1", "--json").json == []


def test_plot_writes_a_png(dbp: Dbp, make_job: MakeJob) -> None:
    """Into the job directory by default; its name is the result."""
    directory = make_job("a-1", losses=(3.0, 0.3, 0.03))
    ran = dbp("plot", "a-1")
    picture = directory.path / "loss.png"
    assert (ran.code, ran.out) == (0, f"{picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_plot_lays_several_jobs_over_each_other(dbp: Dbp, make_job: MakeJob, tmp_path: Path) -> None:
    """Several jobs need -o; the curves are in the JSON, validation apart."""
    make_job("a-1", losses=(3.0, 2.0))
    make_job("b-1", losses=(None, 1.0))
    refused = dbp("plot", "a-1", "b-1")
    assert (refused.code, "-o FILE.png" in refused.err) == (2, True)
    curves = dbp("plot", "a-1", "b-1", "-o", "both.svg", "--json").json["curves"]
    assert (tmp_path / "both.svg").read_text().startswith("<?xml")
    assert [(curve["label"], curve["losses"]) for curve in curves] == [
        ("a-1", [3.0, 2.0]),
        ("a-1 (validation)", [2.0]),
        ("b-1", [1.0]),
        ("b-1 (validation)", [1.0]),
    ]


def test_plot_in_the_terminal_makes_no_file(dbp: Dbp, make_job: MakeJob) -> None:
    """Text for a pipe: no colours, each curve named, a logarithmic scale for losses that span much."""
    directory = make_job("a-1", losses=(300.0, 30.0, 3.0, 0.3))
    ran = dbp("plot", "a-1", "--terminal")
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert "logarithmic" in ran.out
    assert "a-1 (validation)" in ran.out
    assert not (directory.path / "loss.png").exists()


@pytest.mark.parametrize("losses", [(0.5,), (1.0, 1.0), (0.0, 0.0), (-1.0, 1e300), (5e-324, 1.0)])
@pytest.mark.parametrize("unicode", [True, False])
def test_plot_draws_odd_losses(tmp_path: Path, losses: tuple[float, ...], unicode: bool) -> None:
    """One step, a flat line, zero, negative and extreme losses are drawn; in ASCII where the terminal knows no more."""
    curves = [Curve("a-1", tuple(range(1, len(losses) + 1)), losses, held_out=False)]
    text = draw_text(curves, colored=False, unicode=unicode)
    assert "a-1" in text
    assert text.isascii() or unicode
    draw_picture(curves, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 1000


def test_plot_without_a_step_or_with_an_odd_ending(dbp: Dbp, make_job: MakeJob) -> None:
    """Nothing to draw, or no idea how: exit code 2."""
    make_job("a-1", losses=(None,))
    make_job("b-1")
    assert "no step with a finite loss" in dbp("plot", "a-1").err
    refused = dbp("plot", "b-1", "-o", "table.csv")
    assert (refused.code, "expected a name that ends in .png" in refused.err) == (2, True)
