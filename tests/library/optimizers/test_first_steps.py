"""The first steps of each method, against its formulas written out and, where the definitions agree, against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from library.optimizers.methods import CURVATURES, Case, bowl, one_step, rosenbrock

from dbp.optimizers.registry import METHODS

START = np.linspace(-1, 1.5, 10)


def trace(optimizer, function=bowl, start=START, steps=6):
    """The points after each step."""
    point, state, points = start, optimizer.init(start), []
    for _ in range(steps):
        result = one_step(optimizer, point, state, function)
        point, state = result.parameters, result.state
        points.append(point)
    return np.array(points)


def torch_trace(make, steps=6, factor=lambda step: 1.0):
    """The same by torch.optim, on the same bowl; `factor` changes the learning rate."""
    point = torch.tensor(START, requires_grad=True)
    optimizer = make([point])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    points = []
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * torch.tensor(CURVATURES) * point**2).sum().backward()
        optimizer.step()
        schedule.step()
        points.append(point.detach().numpy().copy())
    return np.array(points)


def build(name, **options):
    return METHODS[name].model_validate({"name": name, **options}).build()


SCHEDULES = {
    "constant": ({"name": "constant"}, lambda step: 1.0),
    "step": ({"name": "step", "every": 2, "multiply_by": 0.5}, lambda step: 0.5 ** (step // 2)),
    "cosine": (
        {"name": "cosine", "steps": 4, "final": 0.1},
        lambda step: 0.1 + 0.9 * (1 + math.cos(math.pi * min(step, 4) / 4)) / 2,
    ),
    "inverse_time": ({"name": "inverse_time", "decay": 0.25}, lambda step: 1 / (1 + step / 4)),
}


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_torchs_under_a_constant_learning_rate(nesterov):
    """torch keeps v / -h: the same as long as h stays. Under a schedule its whole velocity is scaled anew, ours is not."""
    ours = trace(build("gradient_descent", learning_rate=0.01, momentum=0.9, nesterov=nesterov))
    theirs = torch_trace(lambda point: torch.optim.SGD(point, lr=0.01, momentum=0.9, nesterov=nesterov))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_their_formulas(name):
    """w <- w - h factor(l) g; torch's LambdaLR has the same l."""
    schedule, factor = SCHEDULES[name]
    ours = trace(build("gradient_descent", learning_rate=0.01, schedule=schedule))
    theirs = torch_trace(lambda point: torch.optim.SGD(point, lr=0.01), factor=factor)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_momentum_under_a_schedule_is_its_formula():
    """v <- m v - h(l) g, w <- w + v."""
    schedule, factor = SCHEDULES["inverse_time"]
    point, velocity, points = START, np.zeros(10), []
    for step in range(6):
        velocity = 0.9 * velocity - 0.01 * factor(step) * CURVATURES * point
        point = point + velocity
        points.append(point)
    ours = trace(build("gradient_descent", learning_rate=0.01, momentum=0.9, schedule=schedule))
    np.testing.assert_allclose(ours, points, rtol=1e-12, atol=1e-14)


def test_only_a_schedule_that_changes_something_counts_steps():
    """A job without one keeps the state it always had: nothing, or a velocity."""
    assert build("gradient_descent", learning_rate=1.0).init(START) == {}
    assert set(build("gradient_descent", learning_rate=1.0, momentum=0.5).init(START)) == {"velocity"}
    schedule = SCHEDULES["cosine"][0]
    assert set(build("gradient_descent", learning_rate=1.0, schedule=schedule).init(START)) == {"steps"}


@pytest.mark.parametrize("name", SCHEDULES)
def test_adam_is_torchs(name):
    schedule, factor = SCHEDULES[name]
    ours = trace(build("adam", learning_rate=0.1, beta1=0.8, beta2=0.95, epsilon=1e-6, schedule=schedule))
    theirs = torch_trace(lambda point: torch.optim.Adam(point, lr=0.1, betas=(0.8, 0.95), eps=1e-6), factor=factor)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


@pytest.mark.parametrize("name", SCHEDULES)
def test_adamw_is_torchs(name):
    schedule, factor = SCHEDULES[name]
    ours = trace(build("adamw", learning_rate=0.1, weight_decay=0.2, schedule=schedule))
    theirs = torch_trace(lambda point: torch.optim.AdamW(point, lr=0.1, weight_decay=0.2), factor=factor)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_adam_is_its_algorithm_written_out():
    """Kingma & Ba, Algorithm 1, in plain Python."""
    point, mean, square, points = list(START), [0.0] * 10, [0.0] * 10, []
    for step in range(1, 7):
        for i, curvature in enumerate(CURVATURES):
            gradient = curvature * point[i]
            mean[i] = 0.9 * mean[i] + 0.1 * gradient
            square[i] = 0.999 * square[i] + 0.001 * gradient**2
            corrected = mean[i] / (1 - 0.9**step), square[i] / (1 - 0.999**step)
            point[i] -= 0.01 * corrected[0] / (math.sqrt(corrected[1]) + 1e-8)
        points.append(list(point))
    np.testing.assert_allclose(trace(build("adam")), points, rtol=1e-11)


def test_rprop_is_its_algorithm_written_out():
    """Igel & Huesken, Figure 4 (iRprop+), in plain Python, over enough steps for turns with and without a rise."""
    point, points = list(START[:2]), []
    sizes, slopes, moves, last = [0.3] * 2, [0.0] * 2, [0.0] * 2, math.inf
    seen = set()
    for _ in range(40):
        evaluation = rosenbrock(np.array(point))
        for i in range(2):
            gradient = float(evaluation.gradient[i])
            if slopes[i] * gradient > 0:
                sizes[i] = min(1.2 * sizes[i], 50)
                moves[i] = -math.copysign(sizes[i], gradient)
            elif slopes[i] * gradient < 0:
                sizes[i] = max(0.5 * sizes[i], 1e-10)
                seen.add(evaluation.value > last)
                moves[i] = -moves[i] if evaluation.value > last else 0.0
                gradient = 0.0
            else:
                moves[i] = -math.copysign(sizes[i], gradient)
            point[i] += moves[i]
            slopes[i] = gradient
        last = evaluation.value
        points.append(list(point))
    assert seen == {True, False}
    ours = trace(build("rprop", first_step=0.3), rosenbrock, START[:2], steps=40)
    np.testing.assert_allclose(ours, points, rtol=1e-12, atol=1e-14)


def test_rprop_is_torchs_until_a_turn():
    """torch's Rprop is the variant without taking back: the same as long as no slope turns and the objective falls."""
    ours = trace(build("rprop", first_step=0.01, increase=1.1))
    theirs = torch_trace(lambda point: torch.optim.Rprop(point, lr=0.01, etas=(0.5, 1.1), step_sizes=(1e-10, 50)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_conjugate_gradients_solve_a_bowl_in_as_many_steps_as_it_has_dimensions():
    """With exact line searches they are linear conjugate gradients (Hestenes & Stiefel 1952), written out."""
    point, points = START, []
    residual = direction = -CURVATURES * point
    for _ in range(5):
        step = (residual @ residual) / (direction @ (CURVATURES * direction))
        point, before = point + step * direction, residual
        residual = before - step * CURVATURES * direction
        direction = residual + (residual @ residual) / (before @ before) * direction
        points.append(point)
    ours = trace(build("conjugate_gradient", sufficient_decrease=1e-10, curvature=1e-9, max_evaluations=60), steps=5)
    np.testing.assert_allclose(ours, points, rtol=1e-4, atol=1e-6)


def test_scaled_conjugate_gradients_take_the_same_steps_without_a_line_search():
    """On a bowl the measured curvature is exact and the damping of 1e-6 nearly nothing: linear conjugate gradients again."""
    tight = trace(build("conjugate_gradient", sufficient_decrease=1e-10, curvature=1e-9, max_evaluations=60), steps=5)
    np.testing.assert_allclose(trace(build("scaled_conjugate_gradient"), steps=5), tight, rtol=1e-3, atol=1e-5)


def test_lbfgs_with_all_its_steps_goes_where_the_written_out_inverse_hessian_says():
    """d = -H g with H from the BFGS formula as matrices (Nocedal & Wright, equation 7.16), after three steps."""
    optimizer = build("lbfgs", memory=20)
    point, state = START, optimizer.init(START)
    moves, changes = [], []
    for _ in range(3):
        result = one_step(optimizer, point, state, bowl)
        moves.append(result.parameters - point)
        changes.append(CURVATURES * moves[-1])
        point, state = result.parameters, result.state
    inverse = np.eye(10) * (moves[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for move, change in zip(moves, changes, strict=True):
        reflect = np.eye(10) - np.outer(change, move) / (move @ change)
        inverse = reflect.T @ inverse @ reflect + np.outer(move, move) / (move @ change)
    trials = optimizer.step(point, state)
    np.testing.assert_allclose(next(trials) - point, -inverse @ (CURVATURES * point), rtol=1e-7)


def test_lbfgs_asks_once_per_step_when_newtons_step_is_good():
    """The last evaluation is remembered: the start point is asked for once in all."""
    optimizer, point, asked = build("lbfgs"), START, []
    state = optimizer.init(point)
    for _ in range(8):
        result = one_step(optimizer, point, state, bowl, asked)
        point, state = result.parameters, result.state
    assert len(asked) <= 8 + 2


def test_the_history_is_as_long_as_asked_for_and_no_longer():
    optimizer, point = Case("lbfgs", 0, 0).build(memory=3), START
    state = optimizer.init(point)
    for _ in range(6):
        result = one_step(optimizer, point, state, bowl)
        point, state = result.parameters, result.state
    assert {name for name in state if "." in name} == {
        f"{kind}.{age}" for kind in ("move", "change") for age in range(3)
    }
