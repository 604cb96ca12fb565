"""`dbp run` and its sisters with a sweep: progress, the table, JSON, Ctrl-C, and kill -9."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Dbp = Callable[..., Any]
RATES = ("--set", "sweep={optimizer.learning_rate: [0.1, 0.5]}")
LONG = ("--set", "training.max_steps=3000", "--id", "a")


def table(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "runs/a/sweep.json").read_text())


def test_a_sweep_ends_in_a_table_with_the_best_first(dbp: Dbp, job_file: Path) -> None:
    ran = dbp("run", job_file, *RATES, "--id", "a", "--quiet")
    lines = ran.out.splitlines()
    assert ran.code == 0
    headings = "RUN optimizer.learning_rate START STATE STEPS LOSS VALIDATION LOSS VALIDATION ACCURACY TIME"
    assert " ".join(lines[0].split()) == headings
    assert lines[1].startswith("2 (best)  0.5")
    assert lines[2].startswith("1         0.1")
    assert "the best is run 2 (optimizer.learning_rate=0.5)" in ran.out
    assert "SHA-256 " in ran.out


def test_json_is_one_object_with_the_best_and_all_members(dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    told = dbp("run", job_file, *RATES, "--id", "a", "--json").json
    assert (told["job"], told["state"], told["best"]["number"]) == ("a", "SUCCEEDED", 2)
    assert told["best"]["changes"] == {"optimizer.learning_rate": 0.5}
    assert told["best"] == told["members"][1]
    assert [member["directory"] for member in told["members"]] == [f"{tmp_path}/runs/a/members/00{n}" for n in (1, 2)]
    assert {"loss", "validation", "seconds", "parameters_sha256", "steps", "seed"} <= set(told["best"])
    again = dbp("resume", "a", "--json").json
    assert again["members"] == told["members"]


def test_progress_says_which_run_of_how_many(dbp: Dbp, job_file: Path) -> None:
    said = dbp("run", job_file, "--set", "training.restarts=2", "--id", "a").err
    assert "a, run 2 of 2 (start 1): 48 rows + 12 held out" in said
    assert "run 2/2  step 20/20  loss" in said
    assert "run 1: SUCCEEDED after step 20: loss" in said
    assert "dbp plot runs/a/members/00" in said


def test_list_and_status_count_runs(dbp: Dbp, job_file: Path) -> None:
    dbp("run", job_file, *RATES, "--id", "a", "--quiet")
    assert "2/2 runs" in dbp("list").out
    assert "best run       2" in dbp("status", "a").out
    assert dbp("status", "a", "--json").json["runs"] == {"done": 2, "count": 2, "best": 2}
    assert [job["job"] for job in dbp("list", "--json").json] == ["a"]


def test_a_plain_job_says_nothing_of_runs(dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    told = dbp("run", job_file, "--id", "a", "--json").json
    assert not {"best", "members"} & set(told)
    assert "runs" not in dbp("status", "a", "--json").json
    assert not (tmp_path / "runs/a/sweep.json").exists()


def test_when_all_runs_fail_so_does_the_job(dbp: Dbp, job_file: Path) -> None:
    ran = dbp("run", job_file, "--set", "sweep={optimizer.learning_rate: [1e300, 1e200]}", "--json")
    assert ran.code == 1
    assert (ran.json["state"], ran.json["best"]) == ("FAILED", None)
    assert [member["state"] for member in ran.json["members"]] == ["FAILED", "FAILED"]


def test_validate_checks_every_combination(dbp: Dbp, job_file: Path) -> None:
    assert dbp("validate", job_file, *RATES, "--json").json["runs"] == 2
    ran = dbp("validate", job_file, "--set", "sweep={training.batch: [10, 1000]}", "--json")
    assert ran.code == 2
    assert [problem["path"] for problem in ran.json["problems"]] == ["sweep[2] (training.batch=1000)"]
    outputs = dbp("validate", job_file, "--read-data", "--set", "sweep={network.outputs: [1, 2, 3]}")
    assert "sweep[3] (network.outputs=3): network.outputs: 3 outputs for 2 classes" in outputs.err


def wait_for(folder: Path, run: Any, state: list[str], steps: int) -> None:
    """Until the members have these states, and the one that runs has made some steps."""
    running = folder / f"runs/a/members/00{state.index('RUNNING') + 1}/metrics.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert run.poll() is None, run.stderr.read()
        if (folder / "runs/a/sweep.json").exists() and running.exists():
            seen = [member["state"] for member in table(folder)["members"]]
            if seen == state and running.read_bytes().count(b"\n") >= steps:
                return
        time.sleep(0.001)
    raise AssertionError(f"{state} was not reached")


def test_ctrl_c_stops_after_a_checkpoint_and_the_rest_is_resumed(
    dbp: Dbp, start: Callable[..., Any], job_file: Path, tmp_path: Path
) -> None:
    run = start("run", job_file, *RATES, *LONG)
    wait_for(tmp_path, run, ["SUCCEEDED", "RUNNING"], 20)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "stopped. To go on: dbp resume a" in err
    assert "stopped on request after 1 of 2 runs" in out
    assert [member["state"] for member in table(tmp_path)["members"]] == ["SUCCEEDED", "STOPPED"]
    assert dbp("resume", "a", "--json").json["state"] == "SUCCEEDED"


@pytest.mark.parametrize("victim", [pytest.param(1, marks=pytest.mark.long), 2])
def test_killed_in_any_run_and_resumed_gives_the_same_bits(
    dbp: Dbp, start: Callable[..., Any], job_file: Path, tmp_path: Path, victim: int
) -> None:
    """kill -9: the job is LOST, finished runs are not trained again, and every run ends with the bits of an undisturbed one."""
    whole = dbp("run", job_file, *RATES, "--set", "training.max_steps=3000", "--json").json
    run = start("run", job_file, *RATES, *LONG)
    wait_for(tmp_path, run, ["SUCCEEDED"] * (victim - 1) + ["RUNNING"] + ["PENDING"] * (2 - victim), 100)
    run.kill()
    run.wait()
    status = dbp("status", "a", "--json").json
    assert status["state"] == "LOST"
    assert f"after {victim - 1} of 2 runs" in status["message"]
    told = dbp("resume", "a", "--json").json
    hashes = [[member["parameters_sha256"] for member in each["members"]] for each in (whole, told)]
    assert hashes[0] == hashes[1]
    assert told["best"]["parameters_sha256"] == whole["best"]["parameters_sha256"]
    attempts = [json.loads((tmp_path / f"runs/a/members/00{n}/status.json").read_text())["attempt"] for n in (1, 2)]
    assert attempts == [2 if n == victim else 1 for n in (1, 2)]
