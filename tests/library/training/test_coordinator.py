"""The loop: what it asks, saves, validates and reports, with a real pool in this process."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from sources import workload

import dbp
from dbp.errors import NonFiniteLossError
from dbp.optimizers.gradient_descent import GradientDescent
from dbp.optimizers.levenberg_marquardt import LevenbergMarquardt
from dbp.optimizers.protocol import StepResult
from dbp.optimizers.registry import METHODS
from dbp.sums.pool import serial_pool
from dbp.training.coordinator import Coordinator, Progress, Schedule
from dbp.training.memory import Memory
from dbp.training.objective import Objective
from dbp.training.observers import Observer
from dbp.training.saving import Saved
from dbp.training.stopping import Finished, LossChange, MaxSeconds, MaxSteps, Requested, StopRequest


@dataclass
class Kept(Observer):
    """Remembers progress and steps."""

    saved: list[Progress] = field(default_factory=list)
    steps: list = field(default_factory=list)

    def save(self, progress):
        self.saved.append(progress)
        return Saved(progress.step, Path(), 0.0)

    def step(self, metrics):
        self.steps.append(metrics)


def coordinator(kept, optimizer=None, rules=None, every=3):
    rules = rules or (MaxSteps(7),)
    load = workload(precision="float64")
    load = replace(load, training=replace(load.training, curvature=isinstance(optimizer, LevenbergMarquardt)))
    target = Objective(serial_pool(load), load.training.network, "mean", 0.0, classification=False)
    optimizer = optimizer or GradientDescent(0.1)
    return Coordinator(target, optimizer, None, Schedule(10, every, validates=False), rules, kept, kept)


def start(loop):
    theta = loop.objective.network.initial_parameters(0, "float64")
    return Progress(0, theta, loop.optimizer.init(theta))


def test_it_does_gradient_descent():
    """Against the rule U1 written out."""
    kept = Kept()
    loop = coordinator(kept)
    outcome, theta = loop.run(start(loop)), start(loop).parameters
    for _ in range(7):
        theta = theta - 0.1 * loop.objective.evaluate(theta, 1, None).evaluation.gradient
    np.testing.assert_allclose(outcome.progress.parameters, theta, rtol=1e-13)
    assert outcome.ending.reason == "training.max_steps (7) reached"
    assert [metrics.step for metrics in kept.steps] == list(range(1, 8))


def test_checkpoints_come_as_often_as_asked_and_at_the_end():
    kept = Kept()
    loop = coordinator(kept)
    loop.run(start(loop))
    assert [progress.step for progress in kept.saved] == [3, 6, 7]


def test_going_on_from_any_checkpoint_ends_in_the_same_bits():
    """Momentum has a memory; it is in the checkpoint."""
    kept, optimizer = Kept(), GradientDescent(0.1, momentum=0.9)
    loop = coordinator(kept, optimizer, every=1)
    whole = loop.run(start(loop)).progress.parameters.tobytes()
    for progress in kept.saved[:-1]:
        assert coordinator(Kept(), optimizer).run(progress).progress.parameters.tobytes() == whole


def test_a_request_stops_after_the_step_under_way():
    request, kept = StopRequest(), Kept()
    loop = coordinator(kept, rules=(MaxSteps(7), Requested(request)))

    class Asking(Kept):
        def step(self, metrics):
            if metrics.step == 2:
                request.set()

    loop = coordinator(Asking(), rules=(MaxSteps(7), Requested(request)))
    outcome = loop.run(start(loop))
    assert (outcome.progress.step, outcome.ending.state) == (2, "STOPPED")


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_progress():
    """A learning rate of 1e200 throws the parameters out of the finite numbers within a few steps."""
    kept = Kept()
    loop = coordinator(kept, GradientDescent(1e200), every=100)
    with pytest.raises(NonFiniteLossError, match=r"step \d.*smaller optimizer\.learning_rate"):
        loop.run(start(loop))
    assert all(np.isfinite(progress.parameters).all() for progress in kept.saved)


def test_a_step_may_ask_for_several_points():
    """What a line search needs: it tries three points and takes the best; the objective is computed at each."""

    class BestOfThree:
        def init(self, parameters):
            return {"rate": np.full(1, 0.4)}

        def step(self, parameters, state):
            here = yield parameters
            trials = []
            for shrink in (1.0, 0.5, 0.25):
                point = parameters - shrink * state["rate"] * here.gradient
                trials.append(((yield point).value, shrink, point))
            _, shrink, best = min(trials, key=lambda trial: trial[:2])
            return StepResult(best, {"rate": state["rate"] * (0.5 + shrink)}, here)

    kept = Kept()
    loop = coordinator(kept, BestOfThree(), every=2)
    whole = loop.run(start(loop))
    losses = [metrics.loss for metrics in kept.steps]
    assert losses == sorted(losses, reverse=True)
    resumed = coordinator(Kept(), BestOfThree()).run(kept.saved[1])
    assert resumed.progress.parameters.tobytes() == whole.progress.parameters.tobytes()


def test_the_metrics_are_json_even_where_numbers_are_not_finite():
    import json

    kept = Kept()
    loop = coordinator(kept, rules=(MaxSteps(1),))
    loop.run(start(loop))
    line = kept.steps[0].to_json()
    assert line["step"] == 1
    assert line["rows"] == 200
    assert json.loads(json.dumps(line, allow_nan=False)) == line


def through_a_checkpoint(progress):
    """The progress as it would come back from disk."""
    return replace(progress, memory=Memory.from_arrays(progress.memory.to_arrays()))


def test_a_rule_that_remembers_stops_at_the_same_step_after_a_resume_at_any():
    """The loss change over five steps: its window is in the checkpoint."""
    rules, kept = (LossChange(0.02, 5), MaxSteps(500)), Kept()
    whole = coordinator(kept, rules=rules, every=1).run(start(coordinator(kept)))
    assert 6 < whole.progress.step < 500
    for progress in kept.saved:
        again = coordinator(Kept(), rules=rules).run(through_a_checkpoint(progress))
        assert (again.ending, again.progress.step) == (whole.ending, whole.progress.step)
        assert again.progress.parameters.tobytes() == whole.progress.parameters.tobytes()


def test_a_change_is_measured_between_starts_of_steps():
    """Against the losses that were reported: the first window of six values close enough ends training."""
    kept = Kept()
    coordinator(kept, rules=(LossChange(0.02, 5), MaxSteps(500))).run(start(coordinator(kept)))
    losses = [metrics.loss for metrics in kept.steps]
    close = [max(six) - min(six) <= 0.02 * max(six) for six in zip(*(losses[i:] for i in range(6)), strict=False)]
    assert close.index(True) + 6 == len(losses)


def test_time_is_counted_over_all_attempts():
    """A clock that ticks a second each time it is read: a resumed run has the time that is left, be it none."""
    kept, rules = Kept(), (MaxSeconds(30), MaxSteps(500))
    loop = replace(coordinator(kept, rules=rules, every=1), clock=itertools.count().__next__)
    whole = loop.run(start(loop))
    assert whole.ending.rule == "max_seconds"
    assert kept.saved[4].memory.seconds < 30 <= whole.progress.memory.seconds
    later = replace(coordinator(Kept(), rules=rules), clock=itertools.count(1000).__next__)
    assert later.run(through_a_checkpoint(kept.saved[4])).progress.step == whole.progress.step
    assert later.run(through_a_checkpoint(whole.progress)).progress.step == whole.progress.step


def test_an_optimiser_may_say_that_it_is_finished():
    """Its sentence is the reason, after a resume too."""

    class Tired(GradientDescent):
        def step(self, parameters, state):
            result = yield from super().step(parameters, state)
            return replace(result, finished="no lower point" if result.evaluation.value < 1.5 else None)

    kept, rules = Kept(), (Finished(), MaxSteps(500))
    outcome = coordinator(kept, Tired(0.1), rules).run(start(coordinator(kept)))
    assert (outcome.ending.state, outcome.ending.reason) == ("SUCCEEDED", "no lower point")
    assert outcome.progress.step < 500
    again = coordinator(Kept(), Tired(0.1), rules).run(through_a_checkpoint(outcome.progress))
    assert (again.ending, again.progress.step) == (outcome.ending, outcome.progress.step)


@pytest.mark.parametrize(
    "name", ["lbfgs", "conjugate_gradient", "scaled_conjugate_gradient", "levenberg_marquardt", "rprop"]
)
def test_a_gradient_that_overflows_at_a_finite_loss_fails_the_run(tmp_path, name):
    """Columns of 1e25 in float32: the loss is a float64, the gradient is not. No method may stand still and call it success."""
    x = np.linspace(-1, 1, 50) * 1e25
    np.savez(tmp_path / "t.npz", x=x[:, None], y=x)
    job = dbp.Job.from_text(
        f"{{name: far, task: regression, data: {{train: {tmp_path / 't.npz'}, target: y, standardize: false}}, network: "
        f"{{hidden: []}}, optimizer: {{name: {name}}}, storage: {tmp_path / 'runs'}}}"
    )
    with pytest.raises(NonFiniteLossError, match="the gradient became infinite or NaN at step 1"):
        dbp.train(job, workers=0)


class NotYet:
    """A save that happens only when it is waited for, and compares what it then reads with what was handed over."""

    def __init__(self, call, handed_over):
        self.call, self.handed_over = call, handed_over

    def done(self):
        return False

    def result(self, timeout=None):
        assert contents(self.handed_over[0]) == self.handed_over[1]
        return self.call()


def contents(progress):
    arrays = {"parameters": progress.parameters, **progress.state, **progress.memory.to_arrays()}
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_checkpoint_that_is_written_late_holds_its_own_step(name):
    """No optimiser, and nothing else in a step, writes into the progress of the step before."""
    options = {"name": name} | ({"learning_rate": 0.1} if "learning_rate" in METHODS[name].model_fields else {})
    kept = Kept()
    loop = coordinator(kept, METHODS[name].model_validate(options).build(), (MaxSteps(12),), every=3)
    handed_over = []

    def begin(call):
        progress = next(cell.cell_contents for cell in call.__closure__ if isinstance(cell.cell_contents, Progress))
        handed_over.append((progress, contents(progress)))
        return NotYet(call, handed_over[-1])

    loop = replace(loop, begin=begin)
    loop.run(start(loop))
    assert [progress.step for progress in kept.saved] == [3, 6, 9, 12]
    assert [progress.step for progress, _ in handed_over] == [3, 6, 9, 12]
