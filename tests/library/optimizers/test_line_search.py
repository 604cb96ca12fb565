"""The line search on the six functions of More & Thuente (1994), section 5, and among rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import line_search as scipy_line_search

from dbp.optimizers.line_search import LineSearch, Sample, cubic_minimum, quadratic_minimum, secant_root


def function_1(t, beta=2.0):
    return -t / (t * t + beta), (t * t - beta) / (t * t + beta) ** 2


def function_2(t, beta=0.004):
    return (t + beta) ** 5 - 2 * (t + beta) ** 4, 5 * (t + beta) ** 4 - 8 * (t + beta) ** 3


def function_3(t, beta=0.01, waves=39):
    if t <= 1 - beta:
        base = 1 - t, -1.0
    elif t >= 1 + beta:
        base = t - 1, 1.0
    else:
        base = (t - 1) ** 2 / (2 * beta) + beta / 2, (t - 1) / beta
    wave = waves * math.pi / 2 * t
    return base[0] + (1 - beta) / (waves * math.pi / 2) * math.sin(wave), base[1] + (1 - beta) * math.cos(wave)


def yanai(t, one, two):
    share = [math.sqrt(1 + beta * beta) - beta for beta in (one, two)]
    roots = math.hypot(1 - t, two), math.hypot(t, one)
    return share[0] * roots[0] + share[1] * roots[1], share[0] * (t - 1) / roots[0] + share[1] * t / roots[1]


# function, mu, eta, evaluations from the first steps 0.001, 0.1, 10, 1000 (the paper's Tables I to VI)
PAPER = {
    "5.1": (function_1, 1e-3, 0.1, (6, 3, 1, 4)),
    "5.2": (function_2, 0.1, 0.1, (12, 8, 8, 11)),
    "5.3": (function_3, 0.1, 0.1, (12, 12, 10, 13)),
    "5.4a": (lambda t: yanai(t, 1e-3, 1e-3), 1e-3, 1e-3, (4, 1, 3, 4)),
    "5.4b": (lambda t: yanai(t, 1e-2, 1e-3), 1e-3, 1e-3, (6, 3, 7, 8)),
    "5.4c": (lambda t: yanai(t, 1e-3, 1e-2), 1e-3, 1e-3, (13, 11, 8, 11)),
}


def run(search, function, first, noise=0.0, ceiling=math.inf):
    """The step that a search returns, and the steps it tried."""
    steps = search.search(Sample(0.0, *function(0.0)), first, noise, ceiling)
    tried = [next(steps)]
    try:
        while True:
            tried.append(steps.send(Sample(tried[-1], *function(tried[-1]))))
    except StopIteration as done:
        return done.value, tried


def is_strong_wolfe(function, step, mu, eta):
    (value, slope), (start, start_slope) = function(step), function(0.0)
    return value <= start + mu * step * start_slope and abs(slope) <= eta * abs(start_slope)


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("number", range(4))
def test_the_papers_functions_are_solved_as_fast_as_in_the_paper(name, number):
    function, mu, eta, evaluations = PAPER[name]
    step, tried = run(LineSearch(mu, eta, narrowest=1e-10), function, (1e-3, 1e-1, 1e1, 1e3)[number])
    assert is_strong_wolfe(function, step, mu, eta)
    assert len(tried) <= evaluations[number]


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3))
def test_a_random_quartic_ends_in_a_step_that_meets_the_conditions(seed, exponent):
    """Quartics that rise in the end, with up to two valleys; from first steps that are far too short or too long."""
    a, b, c, d = np.random.default_rng(seed).uniform(-1, 1, 4)
    coefficients = np.array([0.1 + abs(a), 3 * b, 3 * c, -0.1 - abs(d), 0.0])
    derivative = np.polyder(coefficients)

    def quartic(t):
        return float(np.polyval(coefficients, t)), float(np.polyval(derivative, t))

    step, _ = run(LineSearch(1e-4, 0.1, max_trials=60, narrowest=1e-12), quartic, 10.0**exponent)
    assert is_strong_wolfe(quartic, step, 1e-4, 0.1)


@pytest.mark.parametrize("name", PAPER)
def test_scipys_search_and_ours_end_in_steps_of_the_same_kind(name):
    """The same check of the conditions holds for both; ours needs no more evaluations."""
    function, calls = PAPER[name][0], []

    def value(x):
        calls.append(x[0])
        return function(x[0])[0]

    theirs = scipy_line_search(value, lambda x: np.array([function(x[0])[1]]), np.zeros(1), np.ones(1), c1=1e-3, c2=0.1)
    ours, tried = run(LineSearch(1e-3, 0.1, narrowest=1e-10), function, 1.0)
    assert is_strong_wolfe(function, ours, 1e-3, 0.1)
    assert theirs[0] is None or is_strong_wolfe(function, theirs[0], 1e-3, 0.1 * (1 + 1e-9))
    assert len(tried) <= len(set(calls))


def test_a_search_that_gives_up_returns_the_lowest_step_it_tried_below_the_start():
    step, tried = run(LineSearch(0.1, 0.001, max_trials=3), function_2, 0.5)
    assert len(tried) == 3
    assert step == min(tried, key=lambda t: function_2(t)[0])
    assert function_2(step)[0] < function_2(0)[0]


def test_a_function_that_only_rises_has_no_step():
    """Its slope claims otherwise: a gradient that is wrong, or rounding."""
    step, _ = run(LineSearch(), lambda t: (t, -1.0 if t == 0 else 1.0), 1.0)
    assert step is None


def test_a_function_without_a_floor_is_followed_to_the_last_trial():
    step, tried = run(LineSearch(max_trials=8), lambda t: (-t, -1.0), 1.0)
    assert step == tried[-1] == max(tried)
    assert len(tried) == 8


def test_rounding_in_the_values_is_seen_through_by_the_slopes():
    """1 + (t - 1)^2 / 10^8 with an error of 10^-7, as in float32: the values tell nothing, the slopes where the minimum is."""

    def valley(t):
        return 1 + 1e-8 * (t - 1) ** 2 + 1e-7 * math.sin(1e5 * t), 2e-8 * (t - 1)

    for first in (0.01, 0.5, 3.0, 7.0):
        step, tried = run(LineSearch(1e-4, 0.1), valley, first, 1e-6, 1 + 1e-6)
        assert abs(step - 1) <= 0.1
        assert len(tried) <= 6


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_no_step_above_the_ceiling_is_taken(seed, first):
    """Values of pure noise: whatever is returned was tried, and is not above the ceiling."""
    draw = np.random.default_rng(seed)
    values = {0.0: (1.0, -1e-9)}

    def noisy(t):
        return values.setdefault(t, (1 + 1e-6 * draw.standard_normal(), 1e-9 * draw.standard_normal()))

    step, tried = run(LineSearch(), noisy, first, 1e-6, 1 + 1e-6)
    assert step is None or (step in tried and values[step][0] <= 1 + 1e-6)


def test_a_step_into_overflow_is_taken_back():
    def wall(t):
        return ((t - 1) ** 2, 2 * (t - 1)) if t < 2 else (math.inf, math.nan)

    step, tried = run(LineSearch(1e-4, 0.1), wall, 1000.0)
    assert is_strong_wolfe(wall, step, 1e-4, 0.1)
    assert len(tried) <= 8


@given(st.floats(-5, 5), st.floats(0.1, 5), st.floats(0.1, 5))
def test_fits_find_the_minimum_of_what_they_fit(minimum, stiffness, width):
    """A parabola, which all three fit exactly; and a cubic with its minimum at 1."""

    def at(t):
        return Sample(t, stiffness * (t - minimum) ** 2, 2 * stiffness * (t - minimum))

    first, second = at(minimum - width), at(minimum + 2 * width)
    assert cubic_minimum(first, second) == pytest.approx(minimum, abs=1e-9)
    assert quadratic_minimum(first, second) == pytest.approx(minimum, abs=1e-9)
    assert secant_root(first, second) == pytest.approx(minimum, abs=1e-9)
    one, two = (Sample(t, t**3 - 3 * t, 3 * t * t - 3) for t in (0.2, 3.0))
    assert cubic_minimum(one, two) == pytest.approx(1)
    assert cubic_minimum(two, one) == pytest.approx(1)
    assert cubic_minimum(Sample(0, 0, -1), Sample(1, -1, -1)) is None  # a straight line
