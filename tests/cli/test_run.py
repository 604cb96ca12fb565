"""`dbp run` and `dbp resume`, in this process (--workers 0): results, exit codes, what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Dbp = Callable[..., Any]
DbpEach = Callable[..., list[Any]]


def _records(tmp_path: Path, job: str) -> list[int]:
    lines = (tmp_path / "runs" / job / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_run_ends_with_its_result_on_stdout(dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    """The result on standard output, progress and the next commands on standard error."""
    ran = dbp("run", job_file, "--id", "a-1")
    assert ran.code == 0, ran.err
    fields = {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in ran.out.splitlines()}
    assert fields["job"] == "a-1"
    assert fields["state"].startswith("SUCCEEDED: training.max_steps (20) reached")
    assert fields["steps"] == "20"
    assert "accuracy" in fields["validation"]
    assert (tmp_path / fields["model"]).is_file()
    assert "step 20/20" in ran.err
    assert "dbp predict a-1" in ran.err
    assert "step 20/20" not in ran.out


def test_run_json_is_one_object_and_nothing_else(dbp: Dbp, job_file: Path) -> None:
    """The contract's keys; the parameters' SHA-256 is that of the model file's parameters."""
    from dbp.models.model import load_model

    result = dbp("run", job_file, "--id", "a-1", "--json").json
    assert {"job", "directory", "state", "steps", "loss", "validation", "parameters_sha256", "seconds"} <= set(result)
    assert (result["job"], result["state"], result["steps"]) == ("a-1", "SUCCEEDED", 20)
    assert set(result["validation"]) == {"loss", "rms", "accuracy"}
    assert load_model(result["model"]).parameters_sha256 == result["parameters_sha256"]
    assert result["seconds"] > 0


def test_quiet_says_nothing_on_the_way(dbp: Dbp, job_file: Path) -> None:
    """--quiet leaves the result alone."""
    ran = dbp("run", job_file, "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert "SUCCEEDED" in ran.out


def test_options_override_the_job(dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    """--set, --workers and --storage; the job directory tells the job as run."""
    ran = dbp(
        "run",
        job_file,
        "--set",
        "training.max_steps=3",
        "--set",
        "name=other",
        "--storage",
        "else where",
        "--workers",
        "0",
        "--json",
    )
    result = ran.json
    assert result["steps"] == 3
    directory = Path(result["directory"])
    assert directory.parent == tmp_path / "else where"
    assert directory.name.startswith("other-")
    assert "max_steps: 3" in (directory / "job.yaml").read_text()


def test_the_same_job_twice_has_the_same_bits(dbp: Dbp, job_file: Path) -> None:
    """Two runs, one SHA-256."""
    results = [dbp("run", job_file, "--json").json for _ in range(2)]
    assert results[0]["job"] != results[1]["job"]
    assert results[0]["parameters_sha256"] == results[1]["parameters_sha256"]


def test_a_job_directory_that_exists_is_refused(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """Exit code 2; the first run's files are as they were."""
    before = (tmp_path / "runs/a-1/metrics.jsonl").read_bytes()
    ran = dbp("run", "small.yaml", "--id", "a-1")
    assert (ran.code, ran.out) == (2, "")
    assert "dbp resume a-1" in ran.err
    assert (tmp_path / "runs/a-1/metrics.jsonl").read_bytes() == before


def test_a_job_that_fails(dbp: Dbp, job_file: Path) -> None:
    """A diverging loss: exit code 1, the step and advice on stderr, state FAILED in the JSON and in the status."""
    changes = ("--set", "task=regression", "--set", "data.target=c", "--set", "data.features=[a, b]")
    diverges = (
        "--set",
        "optimizer.learning_rate=1e30",
        "--set",
        "network.activation=relu",
        "--set",
        "network.hidden=[8, 8]",
    )
    ran = dbp("run", job_file, "--id", "a-1", *changes, *diverges, "--json")
    assert ran.code == 1, ran.err
    assert (ran.json["job"], ran.json["state"], ran.json["parameters_sha256"]) == ("a-1", "FAILED", None)
    assert "at step" in ran.json["message"]
    assert "Try a smaller optimizer.learning_rate" in ran.err
    assert "Traceback" not in ran.err
    assert dbp("status", "a-1", "--json").json["state"] == "FAILED"


def test_a_finished_job_is_done_already(dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    """Resuming it changes nothing, exits with 0, and gives the same result as JSON."""
    result = dbp("run", job_file, "--id", "a-1", "--json").json
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    ran = dbp("resume", "a-1", "--json")
    assert ran.code == 0
    assert "done already" in ran.err
    same = ("job", "directory", "state", "steps", "loss", "validation", "parameters_sha256")
    assert {key: ran.json[key] for key in same} == {key: result[key] for key in same}
    assert {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()} == before


def test_more_steps_for_a_finished_job(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """20 steps and then 10 more are the same bits as 30 at once."""
    resumed = dbp("resume", "runs/a-1", "--set", "training.max_steps=30", "--json")
    assert resumed.code == 0, resumed.err
    whole = dbp("run", "small.yaml", "--set", "training.max_steps=30", "--json").json
    assert resumed.json["parameters_sha256"] == whole["parameters_sha256"]
    assert _records(tmp_path, "a-1") == list(range(1, 31))


def test_resume_refuses_what_would_change_the_result(dbp: Dbp, trained: Path) -> None:
    """Another learning rate is another job: exit code 2."""
    changes = ("--set", "optimizer.learning_rate=0.1", "--set", "training.max_steps=30")
    ran = dbp("resume", "a-1", *changes)
    assert (ran.code, ran.out) == (2, "")
    assert "would change the result" in ran.err


def test_validate_sums_the_job_up(dbp: Dbp, job_file: Path, tmp_path: Path) -> None:
    """Rows, features, and with --read-data outputs and parameters; nothing is made."""
    before = sorted(tmp_path.iterdir())
    summary = dbp("validate", job_file, "--json").json
    assert (summary["valid"], summary["rows"] + summary["validation_rows"], summary["features"]) == (True, 60, 3)
    assert dbp("validate", job_file).code == 0
    for workers in ({"threads": 2}, {"min": 1, "max": 2}):
        assert dbp("validate", job_file, "--set", f"workers={json.dumps(workers)}", "--json").json["workers"] == workers
    read = dbp("validate", job_file, "--read-data", "--json").json
    assert (read["outputs"], read["parameters"]) in [(1, 3 * 4 + 4 + 4 + 1), (2, 3 * 4 + 4 + 8 + 2)]
    assert sorted(tmp_path.iterdir()) == before


def test_validate_tells_all_problems_at_once(dbp: Dbp, job_file: Path) -> None:
    """Each with its path; the exit code is 2 with --json too."""
    changes = ("--set", "optimizer.learning_rate=0", "--set", "network.hidden=[0]", "--set", "wrokers=3")
    ran = dbp("validate", job_file, *changes, "--json")
    assert ran.code == 2
    assert ran.json["valid"] is False
    assert {problem["path"] for problem in ran.json["problems"]} == {
        "optimizer.learning_rate",
        "network.hidden[0]",
        "wrokers",
    }
    assert 'did you mean "workers"?' in ran.err


# What the job file's own checks refuse is tested with them; here, one of each kind of refusal that a run can meet.
BAD = {
    "an unknown key": ("training.max_step=5", "training.max_step"),
    "the threshold": ("network.activation=threshold", "threshold"),
    "no table": ("data.train=nothing.csv", "nothing.csv"),
    "no such target": ("data.target=lable", "label"),
    "a feature that is text": ("data.target=a", "label"),
    "too many workers": ("workers=49", "workers"),
    "too many outputs": ("network.outputs=5", "network.outputs"),
    "no storage": ("storage=small.yaml/x", "small.yaml/x"),
    "no setting": ("training", "--set"),
}


def test_bad_input(dbp_each: DbpEach, job_file: Path, tmp_path: Path) -> None:
    """Exit code 2, the place is named, no traceback, nothing on standard output, no directory left."""
    before = sorted(tmp_path.rglob("*"))
    commands = [("run", job_file, "--set", setting) for setting, _ in BAD.values()]
    for (case, (_, named)), ran in zip(BAD.items(), dbp_each(commands), strict=True):
        assert (ran.code, ran.out) == (2, ""), f"{case}: {ran.err}"
        assert named in ran.err, case
        assert "error: " in ran.err, case
        assert "Traceback" not in ran.err, case
    assert sorted(tmp_path.rglob("*")) == before


def test_a_job_file_that_is_none(dbp_each: DbpEach, job_file: Path, tmp_path: Path) -> None:
    """No file, a folder, a table: exit code 2 and the name."""
    before = sorted(tmp_path.rglob("*"))
    jobs = ("nothing.yaml", ".", "table.csv")
    for job, ran in zip(jobs, dbp_each([("run", job) for job in jobs]), strict=True):
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith(f"error: {job}: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_options_out_of_range(dbp_each: DbpEach, job_file: Path, tmp_path: Path) -> None:
    """Exit code 2, the option is named; an id never leaves the storage folder."""
    before = sorted(tmp_path.rglob("*"))
    cases = (("--workers", "two"), ("--workers", "-1"), ("--id", "../x"), ("--id", ""))
    for ran in dbp_each([("run", job_file, *case) for case in cases]):
        assert (ran.code, ran.out) == (2, "")
        assert "workers" in ran.err or "job id" in ran.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_rule_that_ended_a_job_is_named_and_has_it_done_already(dbp: Dbp, job_file: Path) -> None:
    """In the summary, `--json`, the status, and when resumed; how to go on is said."""
    stop = ("--set", "stopping.patience=1", "--set", "stopping.min_improvement=9")
    ran = dbp("run", job_file, "--id", "a-1", *stop, "--json")
    told = ran.json
    assert "step 10/20  loss" in ran.err
    assert (told["rule"], told["steps"], told["model_step"]) == ("patience", 10, 10)
    assert told["reason"].startswith("stopping.patience (1) ran out: 1 validation without improvement")
    status = dbp("status", "a-1", "--json").json
    assert (status["rule"], status["model_step"], status["message"]) == ("patience", 10, told["reason"])
    again = dbp("resume", "a-1", "--set", "training.max_steps=90", "--json")
    assert {key: value for key, value in again.json.items() if key != "seconds"}.items() <= told.items()
    assert "done already: stopping.patience (1) ran out" in again.err
    assert "To go on: --set stopping.patience=null" in again.err
    more = dbp("resume", "a-1", "--set", "stopping.patience=null")
    assert "SUCCEEDED: training.max_steps (20) reached" in more.out


def test_the_step_of_the_best_parameters_is_told(dbp: Dbp, job_file: Path) -> None:
    """A learning rate that spoils what was reached: the model is of an earlier step, and that is said."""
    settings = (
        "optimizer.learning_rate=8",
        "optimizer.momentum=0.9",
        "training.validate_every=1",
        "stopping.keep=best",
    )
    ran = dbp("run", job_file, "--id", "a-1", *(word for setting in settings for word in ("--set", setting)))
    told = dbp("resume", "a-1", "--json").json
    assert told["model_step"] < told["steps"] == 20
    assert f"runs/a-1/model.safetensors (of step {told['model_step']}, the lowest validation loss)" in ran.out


def test_threads_of_this_process_make_the_same_bits(dbp: Dbp, job_file: Path) -> None:
    """Begun with two threads, gone on with three."""
    alone = dbp("run", job_file, "--json").json
    begun = dbp("run", job_file, "--id", "a-1", "--threads", "2", "--set", "training.max_steps=7", "--json").json
    ended = dbp("resume", "a-1", "--threads", "3", "--set", "training.max_steps=20", "--json").json
    assert (begun["steps"], ended["steps"]) == (7, 20)
    assert ended["parameters_sha256"] == alone["parameters_sha256"]


def test_hands_that_exclude_each_other(dbp_each: DbpEach, job_file: Path) -> None:
    """Threads and workers; and a cluster where there is no worker that could be on it."""
    both, threads, none = dbp_each(
        [
            ("run", job_file, "--threads", "2", "--workers", "2"),
            ("run", job_file, "--threads", "2", "--address", "10.0.0.1:6379"),
            ("run", job_file, "--workers", "0", "--address", "10.0.0.1:6379"),
        ]
    )
    assert both.code == threads.code == none.code == 2
    assert (
        both.err == "error: --workers and --threads: expected one of them: worker processes, or threads of this one\n"
    )
    for ran in (threads, none):
        assert "--address 10.0.0.1:6379: this job has no worker processes that could be there" in ran.err
