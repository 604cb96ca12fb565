"""Sweeps and restarts end to end: each run has the bits of its job alone, rows are read once, and interruptions change nothing."""

from __future__ import annotations

import json

import pytest
from small_jobs import small_job, write_table

import dbp
from dbp.data.dataset import Dataset
from dbp.errors import JobDirectoryError, JobFailedError, JobFileError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.status import read_status
from dbp.jobs.sweep import members
from dbp.jobs.sweep_table import read_table
from dbp.sums.shards import cut_into_shards
from dbp.training.observers import Observer
from dbp.training.stopping import StopRequest

GRID = "sweep={optimizer.learning_rate: [2e-3, 1e-3], network.hidden: [[8], [5000]], training.precision: [float64, float32]}"
RATES = "sweep={optimizer.learning_rate: [0.05, 0.2, 0.1]}"
SHORT = "training.max_steps=12"


def hashes(result):
    return [member.parameters_sha256 for member in result.members]


def alone(folder, job):
    """The hashes of the members' jobs, each trained by itself."""
    plain = [member.job.model_copy(update={"storage": str(folder / "alone")}) for member in members(job)]
    return [dbp.train(each, workers=0).summary.parameters_sha256 for each in plain]


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("workers", ["workers=0", "workers=2", "workers={threads: 2}"])
def test_each_run_has_the_bits_of_its_job_alone(tmp_path, workers):
    """Other networks, cuts and precisions before it on the same workers change nothing."""
    write_table(tmp_path / "table.csv", rows=6000)
    job = small_job(tmp_path, GRID, "training.max_steps=4", "training.batch=500", workers)
    assert len({cut_into_shards(4200, (2, *member.job.network.hidden)).count for member in members(job)}) == 2
    result = dbp.train(job)
    assert hashes(result) == alone(tmp_path, job)
    assert len(set(hashes(result))) == 8


def test_restarts_keep_the_best_on_the_validation_rows(tmp_path):
    job = small_job(tmp_path, "training.restarts=4", SHORT)
    result = dbp.train(job)
    losses = [member.validation["loss"] for member in result.members]
    best = result.members[losses.index(min(losses))]
    assert [member.seed for member in result.members] == [0, 1, 2, 3]
    assert hashes(result) == alone(tmp_path, job)
    assert result.summary.best == best.number
    assert result.model.parameters_sha256 == result.summary.parameters_sha256 == best.parameters_sha256
    assert dbp.load_model(result.directory / "model.safetensors").parameters_sha256 == best.parameters_sha256


def test_without_validation_rows_the_lowest_objective_is_best(tmp_path):
    result = dbp.train(small_job(tmp_path, RATES, SHORT, "data.validation=null"))
    assert result.summary.loss == min(member.loss for member in result.members)


def test_rows_are_encoded_once_for_all_runs_that_share_them(tmp_path, monkeypatch):
    reads = []
    encode = Dataset.encode
    monkeypatch.setattr(Dataset, "encode", lambda self, *args: reads.append(args[:2]) or encode(self, *args))
    dbp.train(small_job(tmp_path, SHORT))
    once, reads[:] = len(reads), []
    dbp.train(small_job(tmp_path, RATES, SHORT, "training.restarts=2"))
    assert len(reads) == once
    reads.clear()
    dbp.train(small_job(tmp_path, GRID, SHORT))
    assert len(reads) == 2 * once  # two precisions, each once, however they alternate in the grid


def test_each_run_is_a_complete_job_directory(tmp_path):
    result = dbp.train(small_job(tmp_path, RATES, SHORT))
    home = JobDirectory.open(result.directory)
    for member in result.members:
        directory = JobDirectory.open(home.path / member.directory)
        assert read_status(directory.status_file).state == "SUCCEEDED"
        assert dbp.load_model(directory.model_file).parameters_sha256 == member.parameters_sha256
        assert dbp.resume(directory.path).summary.parameters_sha256 == member.parameters_sha256
    assert read_table(home.table_file) == list(result.members)
    assert json.loads(home.table_file.read_text())["best"] == result.summary.best


def test_a_run_whose_loss_is_not_finite_fails_alone(tmp_path):
    result = dbp.train(small_job(tmp_path, "sweep={optimizer.learning_rate: [1e300, 0.1]}", SHORT))
    assert [member.state for member in result.members] == ["FAILED", "SUCCEEDED"]
    assert "the loss became inf" in result.members[0].message
    assert (result.summary.best, result.summary.state) == (2, "SUCCEEDED")


def test_when_all_fail_the_job_fails(tmp_path):
    with pytest.raises(JobFailedError, match="none of 2 runs has a model; run 1: the loss became"):
        dbp.train(small_job(tmp_path, "optimizer.learning_rate=1e300", "training.restarts=2"), job_id="x")
    assert read_status(tmp_path / "runs/x/status.json").state == "FAILED"


def test_every_combination_is_checked_against_the_data_before_anything_is_written(tmp_path):
    job = small_job(tmp_path, "sweep={training.batch: [full, 100, 200], network.outputs: [1]}")
    with pytest.raises(JobFileError) as error:
        dbp.train(job)
    assert [problem.path.split(" ")[0] for problem in error.value.problems] == ["sweep[2]", "sweep[3]"]
    assert not (tmp_path / "runs").exists()


class StopIn(Observer):
    """Asks for a stop after a step of a run."""

    def __init__(self, run: int, step: int) -> None:
        self.at, self.run, self.request = (run, step), 0, StopRequest()

    def started(self, plan):
        self.run = plan.run.number

    def step(self, metrics):
        if (self.run, metrics.step) == self.at:
            self.request.set()


@pytest.mark.parametrize("run", [1, 2, 3])
def test_stopped_in_any_run_and_resumed_gives_the_same_bits(tmp_path, run):
    """Finished runs are skipped: their attempts stay 1. The one under way goes on from its checkpoint."""
    whole = dbp.train(small_job(tmp_path, RATES, SHORT))
    stop = StopIn(run, 9)
    part = dbp.train(small_job(tmp_path, RATES, SHORT), observer=stop, stop=stop.request)
    assert (part.summary.state, part.summary.rule) == ("STOPPED", "request")
    assert [member.state for member in part.members] == ["SUCCEEDED"] * (run - 1) + ["STOPPED"] + ["PENDING"] * (
        3 - run
    )
    rest = dbp.resume(part.directory)
    assert (rest.summary.state, hashes(rest)) == ("SUCCEEDED", hashes(whole))
    attempts = [read_status(rest.directory / member.directory / "status.json").attempt for member in rest.members]
    assert attempts == [2 if number == run else 1 for number in (1, 2, 3)]


def test_a_finished_sweep_can_be_given_more_steps(tmp_path):
    first = dbp.train(small_job(tmp_path, RATES, SHORT))
    assert hashes(dbp.resume(first.directory)) == hashes(first)
    more = dbp.resume(first.directory, overrides=["training.max_steps=20"])
    assert hashes(more) == hashes(dbp.train(small_job(tmp_path, RATES, "training.max_steps=20")))


def test_a_resumed_sweep_cannot_be_another_one(tmp_path):
    first = dbp.train(small_job(tmp_path, RATES, SHORT))
    for override in ("sweep={optimizer.learning_rate: [0.05]}", "training.restarts=2", "sweep=null"):
        with pytest.raises(JobDirectoryError, match="would change the result"):
            dbp.resume(first.directory, overrides=[override])


def test_a_sweep_from_a_model_starts_each_run_from_it(tmp_path):
    model = dbp.train(small_job(tmp_path, SHORT)).directory / "model.safetensors"
    job = small_job(tmp_path, RATES, SHORT, f"network.start_from={json.dumps(str(model))}")
    assert hashes(dbp.train(job)) == alone(tmp_path, job)


def test_a_damaged_table_is_one_clear_message(tmp_path):
    first = dbp.train(small_job(tmp_path, RATES, SHORT))
    for text in ("", "{", "[]", '{"best": null, "members": [{"number": "x"}]}'):
        (first.directory / "sweep.json").write_text(text)
        with pytest.raises(JobDirectoryError, match="not a table of runs, or damaged"):
            dbp.resume(first.directory)
