"""Stopping rules end to end: which rule, which parameters, and the same after any interruption."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_jobs import small_job

import dbp
from dbp.jobs.metrics import read_metrics
from dbp.jobs.status import read_status
from dbp.training.observers import Observer
from dbp.training.stopping import StopRequest


class StopAt(Observer):
    """Asks for a stop after one step."""

    def __init__(self, step: int) -> None:
        self.at, self.request = step, StopRequest()

    def step(self, metrics):
        if metrics.step == self.at:
            self.request.set()


RULES = {
    "target_loss": "stopping.target_loss=0.3",
    "gradient_tolerance": "stopping.gradient_tolerance=0.05",
    "loss_change": "stopping.loss_change=0.08",
    "patience": "stopping.patience=4",
    "max_seconds": "stopping.max_seconds=1e-9",
    "max_steps": "training.max_steps=5",
}


@pytest.mark.parametrize("rule", RULES)
def test_the_summary_and_the_status_say_which_rule_ended_it(tmp_path, rule):
    result = dbp.train(small_job(tmp_path, RULES[rule]))
    summary, status = result.summary, read_status(result.directory / "status.json")
    key = "training.max_steps" if rule == "max_steps" else f"stopping.{rule}"
    assert (summary.rule, summary.state, status.rule, status.message) == (rule, "SUCCEEDED", rule, summary.reason)
    assert summary.reason.startswith(key)
    assert 0 < summary.step < 400


def test_a_target_is_compared_with_the_loss_at_a_steps_start(tmp_path):
    """Against the reported losses: the last is the first that is low enough."""
    losses = [step.loss for step in dbp.train(small_job(tmp_path, RULES["target_loss"])).history]
    assert losses[-1] <= 0.3 < min(losses[:-1])


@pytest.mark.parametrize("rule", ["target_loss: 0.3", "gradient_tolerance: 0.05"])
@pytest.mark.parametrize("method", ["lbfgs", "conjugate_gradient", "scaled_conjugate_gradient", "levenberg_marquardt"])
def test_a_method_that_knows_where_its_step_ended_makes_no_further_step_to_find_out(tmp_path, method, rule):
    """Against the same job without the rule, which measures at the starts of its steps what the rule looked at."""
    loss = ["loss=squared_error"] if method == "levenberg_marquardt" else []
    changes = [f"optimizer={{name: {method}}}", "training.max_steps=60", *loss]
    name, limit = rule.split(": ")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    stopped = dbp.train(small_job(tmp_path / "a", f"stopping.{name}={limit}", *changes))
    whole = dbp.train(small_job(tmp_path / "b", *changes)).history
    value = {"target_loss": "loss", "gradient_tolerance": "gradient_norm"}[name]
    reached = next(step.step for step in whole if getattr(step, value) <= float(limit))
    assert stopped.summary.step == reached - 1 > 0, "stops after the step that ends where the next one would begin"
    assert stopped.summary.rule == name
    if name == "target_loss":
        assert stopped.summary.loss <= 0.3 < stopped.history[-1].loss


def test_patience_counts_validations(tmp_path):
    """Against the reported validation losses: the last improvement was four validations, so twelve steps, before the end."""
    history = dbp.train(small_job(tmp_path, RULES["patience"])).history
    losses = {step.step: step.validation_loss for step in history if step.validation_loss is not None}
    best = min(losses, key=losses.get)
    assert history[-1].step == best + 4 * 3
    assert list(losses) == list(range(3, best + 13, 3))


def test_with_patience_the_model_has_the_lowest_validation_loss(tmp_path):
    """The parameters are those of a run that ends at that step, and all that is reported is of them."""
    best = dbp.train(small_job(tmp_path, RULES["patience"]))
    at = best.summary.model_step
    there = dbp.train(small_job(tmp_path, f"training.max_steps={at}"))
    assert at < best.summary.step
    assert best.model.parameters.tobytes() == there.model.parameters.tobytes()
    assert best.summary.parameters_sha256 == dbp.load_model(best.directory / "model.safetensors").parameters_sha256
    assert (best.summary.loss, best.summary.validation) == (there.summary.loss, there.summary.validation)
    assert read_status(best.directory / "status.json").model_step == best.model.about["step"] == at


def test_the_last_parameters_are_kept_where_that_is_asked_for(tmp_path):
    for settings, expected in [
        (("stopping.keep=last", "stopping.patience=4"), "last"),
        (("stopping.keep=best",), "best"),
    ]:
        summary = dbp.train(small_job(tmp_path, "training.max_steps=200", *settings)).summary
        assert (summary.model_step == summary.step) == (expected == "last"), settings
    assert small_job(tmp_path).stopping.keeps_best is False


def test_the_last_step_may_be_the_best_though_no_validation_was_due(tmp_path):
    summary = dbp.train(small_job(tmp_path, "stopping.keep=best", "training.max_steps=2")).summary
    assert (summary.step, summary.model_step) == (2, 2)


@pytest.mark.parametrize("rule", ["patience", pytest.param("loss_change", marks=pytest.mark.long)])
def test_stopped_at_any_step_and_resumed_it_ends_at_the_same_step_with_the_same_bits(tmp_path, rule):
    settings = (RULES[rule], "stopping.keep=best")
    whole = dbp.train(small_job(tmp_path, *settings)).summary
    for step in range(1, whole.step):
        stop = StopAt(step)
        part = dbp.train(small_job(tmp_path, *settings), observer=stop, stop=stop.request)
        assert (part.summary.rule, part.summary.step) == ("request", step)
        rest = dbp.resume(part.directory).summary
        same = ("rule", "reason", "step", "model_step", "loss", "validation", "parameters_sha256")
        assert [getattr(rest, name) for name in same] == [getattr(whole, name) for name in same]


def test_a_run_that_a_rule_ended_ends_at_once_when_it_is_resumed(tmp_path):
    """Unchanged, or with more steps: no step more, the same reason and model. With another rule it goes on."""
    first = dbp.train(small_job(tmp_path, RULES["patience"])).summary
    for overrides in ((), ("training.max_steps=900",)):
        again = dbp.resume(first.directory, overrides=overrides)
        assert again.history == ()
        same = ("rule", "reason", "step", "model_step", "parameters_sha256")
        assert [getattr(again.summary, name) for name in same] == [getattr(first, name) for name in same]
    more = dbp.resume(first.directory, overrides=["stopping.patience=6"])
    whole = dbp.train(small_job(tmp_path, "stopping.patience=6")).summary
    assert (more.summary.step, more.summary.parameters_sha256) == (whole.step, whole.parameters_sha256)


def test_other_parameters_may_be_kept_later(tmp_path):
    first = dbp.train(small_job(tmp_path, RULES["patience"])).summary
    last = dbp.resume(first.directory, overrides=["stopping.keep=last"])
    assert (last.history, last.summary.step, last.summary.model_step) == ((), first.step, first.step)


def test_seconds_used_are_those_of_all_attempts(tmp_path):
    """A resumed run that has used its time up makes no step; more time lets it go on."""
    first = dbp.train(small_job(tmp_path, RULES["max_seconds"])).summary
    assert first.step == 1
    assert dbp.resume(first.directory).history == ()
    assert dbp.resume(first.directory, overrides=["stopping.max_seconds=1000"]).summary.rule == "max_steps"


def test_validation_numbers_are_in_the_metrics_of_the_step_that_is_kept(tmp_path):
    result = dbp.train(small_job(tmp_path, RULES["patience"]))
    steps = {step["step"]: step for step in read_metrics(result.directory / "metrics.jsonl").steps}
    assert steps[result.summary.model_step]["validation_loss"] == result.summary.validation["loss"]


def test_a_checkpoint_with_a_memory_that_makes_no_sense_is_refused(tmp_path):
    from dbp.errors import CheckpointError
    from dbp.storage.checkpoints import Checkpoint, CheckpointStore

    result = dbp.train(small_job(tmp_path, RULES["patience"]))
    store = CheckpointStore(result.directory / "checkpoints")
    good = store.load(result.summary.step)
    for name, array, words in [
        ("numbers", np.zeros(2), "cannot be used"),
        ("best_parameters", np.zeros(3), r"shape \(3,\)"),
    ]:
        store.save(Checkpoint(good.step, {**good.arrays, f"stopping.{name}": array}, good.metadata))
        with pytest.raises(CheckpointError, match=words):
            dbp.resume(result.directory)


def test_rules_change_no_bit_of_a_step(tmp_path):
    """With every rule on, but none met, the same bits and the same fingerprint as without."""
    all_on = {
        "target_loss": -1.0,
        "gradient_tolerance": 1e-300,
        "loss_change": 1e-300,
        "patience": 99,
        "max_seconds": 1e9,
    }
    job = small_job(tmp_path, "training.max_steps=20")
    rules = small_job(tmp_path, "training.max_steps=20", f"stopping={json.dumps({**all_on, 'keep': 'last'})}")
    assert job.fingerprint() == rules.fingerprint()
    assert dbp.train(job).summary.parameters_sha256 == dbp.train(rules).summary.parameters_sha256
