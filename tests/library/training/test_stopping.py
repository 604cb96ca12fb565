"""Rules are pure functions of the step and the memory: each just before and just at its limit."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dbp.training.memory import Memory, Point
from dbp.training.stopping import (
    Finished,
    GradientTolerance,
    LossChange,
    MaxSeconds,
    MaxSteps,
    Patience,
    Requested,
    StopRequest,
    TargetLoss,
)

AT_THE_LIMIT = [
    (Finished(), Memory(), Memory(finished="no lower point along the line"), "optimizer", "no lower point along the line"),
    (
        TargetLoss(0.1),
        Memory(losses=(0.05, 0.11)),
        Memory(losses=(0.5, 0.1)),
        "target_loss",
        "stopping.target_loss (0.1) reached: the objective was 0.1 at the start of step 7",
    ),
    (
        GradientTolerance(1e-3),
        Memory(gradient_norm=1.1e-3),
        Memory(gradient_norm=1e-3),
        "gradient_tolerance",
        "stopping.gradient_tolerance (0.001) reached: the gradient's norm was 0.001 at the start of step 7",
    ),
    (
        TargetLoss(0.1),
        Memory(losses=(0.5,), after=Point(0.11, 0.0)),
        Memory(losses=(0.5,), after=Point(0.1, 9.0)),
        "target_loss",
        "stopping.target_loss (0.1) reached: the objective is 0.1 after step 7",
    ),
    (
        GradientTolerance(1e-3),
        Memory(gradient_norm=1.0, after=Point(0.0, 1.1e-3)),
        Memory(gradient_norm=1.0, after=Point(9.0, 1e-3)),
        "gradient_tolerance",
        "stopping.gradient_tolerance (0.001) reached: the gradient's norm is 0.001 after step 7",
    ),
    (
        LossChange(0.25, 2),
        Memory(losses=(4.0, 2.5, 3.0)),
        Memory(losses=(9.0, 4.0, 3.0, 3.5)),
        "loss_change",
        "stopping.loss_change (0.25) reached: the objective stayed between 3 and 4 for 2 steps",
    ),
    (
        Patience(3),
        Memory(mark=0.5, waited=2),
        Memory(mark=0.5, waited=3),
        "patience",
        "stopping.patience (3) ran out: 3 validations without improvement on a validation loss of 0.5",
    ),
    (
        MaxSeconds(60),
        Memory(seconds=59.9),
        Memory(seconds=60.0),
        "max_seconds",
        "stopping.max_seconds (60) used up: 60.0 s of training made 7 steps; another machine would have made another number",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "before", "at", "name", "sentence"), AT_THE_LIMIT)
def test_a_rule_ends_training_at_its_limit_and_says_so(rule, before, at, name, sentence):
    assert rule.ending(7, before) is None
    ending = rule.ending(7, at)
    assert (ending.state, ending.rule, ending.reason) == ("SUCCEEDED", name, sentence)


@pytest.mark.parametrize("rule", [case[0] for case in AT_THE_LIMIT])
def test_no_rule_ends_what_has_not_begun(rule):
    assert rule.ending(0, Memory()) is None


def test_the_number_of_steps_needs_no_memory():
    assert MaxSteps(7).ending(6, Memory()) is None
    assert MaxSteps(7).ending(7, Memory()).rule == "max_steps"
    assert MaxSteps(7).ending(9, Memory()).reason == "training.max_steps (7) reached"


def test_a_request_is_no_success():
    request = StopRequest()
    assert Requested(request).ending(3, Memory()) is None
    request.set()
    ending = Requested(request).ending(3, Memory())
    assert (ending.state, ending.rule) == ("STOPPED", "request")


def test_a_loss_change_is_judged_over_all_of_its_steps():
    """Not before there are enough; not where an objective that swings comes back to where it was; also below and at zero."""
    rule = LossChange(0.01, 3)
    assert rule.ending(3, Memory(losses=(1.0, 1.0, 1.0))) is None
    assert rule.ending(9, Memory(losses=(1.0, 2.0, 2.0, 1.0))) is None
    assert rule.ending(9, Memory(losses=(-5.0, -5.01, -5.0, -5.02))) is not None
    assert rule.ending(9, Memory(losses=(0.0, 0.0, 0.0, 0.0))) is not None


def test_what_is_not_a_number_ends_nothing():
    memory = Memory(losses=(math.nan,) * 4, gradient_norm=math.nan)
    for rule in (TargetLoss(1.0), LossChange(0.5, 3), GradientTolerance(1.0)):
        assert rule.ending(4, memory) is None, rule


def test_a_target_may_be_negative():
    """An objective may be, with losses to come; the rule compares and no more."""
    memory = replace(Memory(), losses=(-0.5,))
    assert TargetLoss(-0.6).ending(1, memory) is None
    assert TargetLoss(-0.4).ending(1, memory) is not None
