"""The loop: what it asks, saves, validates and reports, with a real pool in this process."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from sources import workload

from dbp.errors import NonFiniteLossError
from dbp.optimizers.gradient_descent import GradientDescent
from dbp.optimizers.protocol import StepResult
from dbp.sums.pool import serial_pool
from dbp.training.coordinator import Coordinator, Progress, Schedule
from dbp.training.objective import Objective
from dbp.training.observers import Observer
from dbp.training.stopping import MaxSteps, Requested, StopRequest


@dataclass
class Kept(Observer):
    """Remembers progress and steps."""

    saved: list[Progress] = field(default_factory=list)
    steps: list = field(default_factory=list)

    def save(self, progress):
        self.saved.append(progress)

    def step(self, metrics):
        self.steps.append(metrics)


def coordinator(kept, optimizer=None, rules=None, every=3):
    rules = rules or (MaxSteps(7),)
    load = workload(precision="float64")
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
