"""Callbacks: what they are told, in which order, and that none can end or change a run."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from small_jobs import small_job

import dbp
from dbp.training.callbacks import CallbackWarning, Guarded
from dbp.training.observers import Observer, Plan, StepMetrics, Summary
from dbp.training.stopping import StopRequest


class Heard(dbp.Callback):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.plans: list[Plan] = []

    def started(self, plan: Plan) -> None:
        self.calls.append("started")
        self.plans.append(plan)

    def step(self, metrics: StepMetrics) -> None:
        self.calls.append(f"step {metrics.step}")

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        self.calls.append(f"checkpoint {step}")

    def member_finished(self, result: object) -> None:
        self.calls.append("member")

    def finished(self, summary: Summary) -> None:
        self.calls.append(summary.state)

    def failed(self, error: BaseException) -> None:
        self.calls.append(f"failed: {type(error).__name__}")


class Broken(Heard):
    """Raises at step 2."""

    def step(self, metrics: StepMetrics) -> None:
        super().step(metrics)
        if metrics.step == 2:
            raise OSError("the server went away")


def test_what_a_callback_is_told(tmp_path: Path) -> None:
    """In order, but for a checkpoint, which is told when it is safe; the plan has the job as it is run."""
    heard = Heard()
    job = small_job(tmp_path, "training.max_steps=3", "checkpoint.every=2")
    dbp.train(job, callbacks=[heard])
    assert [call for call in heard.calls if call != "checkpoint 2"] == [
        *("started", "step 1", "step 2", "step 3", "checkpoint 3", "SUCCEEDED")
    ]
    assert heard.calls.index("step 2") < heard.calls.index("checkpoint 2") < heard.calls.index("checkpoint 3")
    assert heard.plans[0].job == job


def test_a_callback_that_raises_ends_nothing(tmp_path: Path) -> None:
    """It is told once, here and in the log, and called no more; the others go on, to the same bits."""
    broken, heard = Broken(), Heard()
    job = small_job(tmp_path, "training.max_steps=4")
    with pytest.warns(CallbackWarning, match=r"callback Broken raised in step\(\): OSError: the server went away"):
        result = dbp.train(job, job_id="a", callbacks=[broken, heard])
    assert broken.calls == ["started", "step 1", "step 2"]
    assert heard.calls[-1] == "SUCCEEDED"
    assert (Path(result.directory) / "log.txt").read_text().count("callback Broken raised") == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = dbp.train(job, job_id="b")
    assert alone.summary.parameters_sha256 == result.summary.parameters_sha256


def test_who_observes_hears_of_it_instead(tmp_path: Path) -> None:
    """No Python warning then: the command line's observer tells it."""
    told: list[str] = []

    class Listening(Observer):
        def warning(self, text: str) -> None:
            told.append(text)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dbp.train(small_job(tmp_path, "training.max_steps=2"), observer=Listening(), callbacks=[Broken()])
    assert sum("callback Broken raised" in text for text in told) == 1


def test_a_failed_run_is_told(tmp_path: Path) -> None:
    """A loss that is no number any more; but not a mistake before training, which is the caller's alone."""
    heard = Heard()
    job = small_job(tmp_path, "optimizer.learning_rate=1e300", "optimizer.momentum=0", "data.standardize=false")
    with pytest.raises(dbp.JobFailedError):
        dbp.train(job, job_id="a", callbacks=[heard])
    assert heard.calls[-1] == "failed: NonFiniteLossError"
    early = Heard()
    with pytest.raises(dbp.InputError):
        dbp.train(job, job_id="a", callbacks=[early])
    assert early.calls == []


def test_stopped_and_resumed(tmp_path: Path) -> None:
    """A callback may ask for a stop, by the request that it was made with; the resumed run is told where it begins."""
    stop = StopRequest()

    class Stopping(Heard):
        def step(self, metrics: StepMetrics) -> None:
            super().step(metrics)
            if metrics.step == 3:
                stop.set()

    stopping, heard = Stopping(), Heard()
    result = dbp.train(small_job(tmp_path, "training.max_steps=5"), callbacks=[stopping], stop=stop)
    assert stopping.calls[-1] == "STOPPED"
    dbp.resume(result.directory, callbacks=[heard])
    assert heard.calls == ["started", "step 4", "step 5", "checkpoint 5", "SUCCEEDED"]
    assert heard.plans[0].first_step == 4


def test_the_runs_of_a_sweep(tmp_path: Path) -> None:
    """Each begins with its plan, which has its own job, and ends with its result."""
    heard = Heard()
    dbp.train(
        small_job(tmp_path, "training.max_steps=1", "network.hidden=[2]", "training.restarts=2"), callbacks=[heard]
    )
    one = ["started", "step 1", "checkpoint 1", "member"]
    assert heard.calls == [*one, *one, "SUCCEEDED"]
    seeds = [plan.job.start_seed for plan in heard.plans if plan.job is not None]
    assert [plan.run.number for plan in heard.plans if plan.run] == [1, 2]
    assert seeds == [0, 1]


@pytest.mark.parametrize("wrong", [Heard, Observer(), print])
def test_what_is_no_callback_is_refused(wrong: object) -> None:
    """A class instead of an object, above all."""
    with pytest.raises(TypeError, match=r"dbp\.Callback"):
        Guarded([wrong])  # type: ignore[list-item]
