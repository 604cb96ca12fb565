"""What every method must do, over the list in methods.py."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library.optimizers.methods import CASES, bowl, minimize, one_step, rosenbrock
from strategies import problem

import dbp
from dbp.optimizers.descent import CANNOT_IMPROVE
from dbp.optimizers.protocol import Evaluation
from dbp.optimizers.registry import METHODS
from dbp.storage.checkpoints import Checkpoint, CheckpointStore
from dbp.sums.gradient import gauss_newton_sum

every_method = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
DESCENDING = [case for case in CASES if case.descends]


def test_every_method_of_the_registry_is_in_the_list():
    assert {case.name for case in CASES} == set(METHODS)


@every_method
def test_a_bowl_is_solved(case):
    start = np.ones(10)
    target = 1e-10 * bowl(start).value
    _, asked, _ = minimize(case.build(), start, bowl, case.bowl, target)
    assert min(asked) < target, f"{min(asked):.1e} after {len(asked)} evaluations"


@every_method
def test_rosenbrock_is_solved(case):
    optimizer = case.build(**case.rosenbrock_options)
    _, asked, _ = minimize(optimizer, np.array([-1.2, 1.0]), rosenbrock, case.rosenbrock, 1e-6)
    assert min(asked) < 1e-6, f"{min(asked):.1e} after {len(asked)} evaluations"


@every_method
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_stays(case, dtype):
    """Vectors stay in the job's precision; scalars of the state, (1,), may be float64."""
    optimizer, point = case.build(), np.ones(10, dtype=dtype)
    state = optimizer.init(point)
    for _ in range(4):
        result = one_step(optimizer, point, state, bowl)
        point, state = result.parameters, result.state
        assert point.dtype == dtype
        assert all(array.dtype == dtype for array in state.values() if array.shape == (10,))
        assert {array.shape for array in state.values()} <= {(1,), (10,)}


@every_method
def test_a_step_changes_neither_the_point_nor_the_state_it_is_given(case):
    """A checkpoint holds references: they must not move under it."""
    optimizer, point = case.build(), np.ones(10)
    state = optimizer.init(point)
    for _ in range(4):
        before = point.copy(), {name: array.copy() for name, array in state.items()}
        result = one_step(optimizer, point, state, bowl)
        assert point.tobytes() == before[0].tobytes()
        assert {name: array.tobytes() for name, array in state.items()} == {
            name: array.tobytes() for name, array in before[1].items()
        }
        point, state = result.parameters, result.state


@every_method
def test_the_evaluation_of_a_step_is_the_one_at_its_start(case):
    """The metrics of a step are those at its start, RMS included, also where the method remembers them from the step before."""

    def reporting(point):
        return replace(bowl(point), rms=float(point[0]))

    optimizer, point = case.build(), np.linspace(1, 2, 10)
    state = optimizer.init(point)
    for _ in range(5):
        result = one_step(optimizer, point, state, reporting)
        assert result.evaluation.value == bowl(point).value
        assert result.evaluation.rms == point[0]
        np.testing.assert_array_equal(result.evaluation.gradient, bowl(point).gradient)
        point, state = result.parameters, result.state


@every_method
@given(stops=st.sets(st.integers(0, 11), max_size=3), dtype=st.sampled_from([np.float32, np.float64]))
@settings(max_examples=10)
def test_interrupted_anywhere_and_resumed_from_a_file_gives_the_same_bits(case, tmp_path_factory, stops, dtype):
    store = CheckpointStore(tmp_path_factory.mktemp("checkpoints"))
    schedule = {"schedule": {"name": "cosine", "steps": 10}} if case.name in ("gradient_descent", "adam") else {}
    optimizer = case.build(**case.rosenbrock_options, **schedule)
    ends = []
    for interruptions in (set(), stops):
        point = np.array([-1.2, 1.0], dtype=dtype)
        state = optimizer.init(point)
        for step in range(12):
            if step in interruptions:
                store.save(Checkpoint(step, {"parameters": point, **state}))
                arrays = dict(store.load(step).arrays)
                point, state = arrays.pop("parameters"), arrays
            result = one_step(optimizer, point, state, rosenbrock)
            point, state = result.parameters, result.state
        ends.append((point.tobytes(), {name: array.tobytes() for name, array in state.items()}))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("case", DESCENDING, ids=lambda case: case.id)
@given(seed=st.integers(0, 10_000), loss=st.sampled_from(["squared_error", "cross_entropy"]))
@settings(max_examples=15)
def test_no_step_raises_the_objective(case, seed, loss):
    """Where theory promises it: of small networks, beyond rounding (8 units of the last place)."""
    loss = "squared_error" if METHODS[case.name].needs_curvature else loss
    drawn = problem((3, 4, 2), ("tanh", "identity"), loss, rows=20, seed=seed)

    def function(point):
        partial = dbp.gradient_sum(drawn.network, point, drawn.inputs, drawn.targets, loss=loss)
        matrix = gauss_newton_sum(drawn.network, point, drawn.inputs) / 20
        return Evaluation(partial.loss / 20, partial.gradient / 20, curvature=matrix)

    _, _, starts = minimize(case.build(), drawn.theta, function, 80)
    assert all(after <= before * (1 + 8 * 2.3e-16) for before, after in itertools.pairwise(starts))


@pytest.mark.parametrize("case", DESCENDING, ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_at_the_minimum_a_method_says_so_and_stays(case, dtype):
    """A bowl that stands on 1, so that rounding hides the last of it; and again at each further step."""
    optimizer, point = case.build(), np.ones(10, dtype=dtype)

    def standing(at):
        return replace(bowl(at), value=1.0 + bowl(at).value)

    state = optimizer.init(point)
    for _ in range(500):
        result = one_step(optimizer, point, state, standing)
        point, state = result.parameters, result.state
        if result.finished:
            break
    assert result.finished == CANNOT_IMPROVE
    assert standing(point).value - 1 < (1e-14 if dtype == np.float64 else 1e-6)
    again = one_step(optimizer, point, state, standing)
    assert again.finished == CANNOT_IMPROVE
    assert again.parameters.tobytes() == point.tobytes()


@pytest.mark.parametrize("case", DESCENDING, ids=lambda case: case.id)
def test_a_start_at_the_minimum_is_final_at_once(case):
    optimizer, point = case.build(), np.zeros(10)
    result = one_step(optimizer, point, optimizer.init(point), bowl)
    assert result.finished == CANNOT_IMPROVE
    assert result.parameters.tolist() == [0] * 10


@pytest.mark.parametrize("case", DESCENDING, ids=lambda case: case.id)
def test_values_that_overflow_are_stepped_back_from(case):
    """A bowl around 1.5 behind a wall at 1, beyond which nothing is a number: the minimum is found all the same."""
    curvatures = np.array([1.0, 2.0, 4.0])

    def walled(point):
        inside = 1 - point**2 if (np.abs(point) < 1).all() else np.full(3, np.nan)
        value = 0.5 * curvatures * (point - 1.5) ** 2 - 0.1 * np.log(inside)
        second = np.diag(curvatures + 0.2 * (1 + point**2) / inside**2)
        return Evaluation(float(value.sum()), curvatures * (point - 1.5) + 0.2 * point / inside, curvature=second)

    point, asked, _ = minimize(case.build(), np.zeros(3), walled, 200)
    assert np.isnan(asked).any()
    assert np.abs(walled(point).gradient).max() < 1e-6


@pytest.mark.parametrize("case", DESCENDING, ids=lambda case: case.id)
def test_a_start_that_is_not_finite_is_handed_on(case):
    """The coordinator turns it into an error that says where."""
    optimizer, point = case.build(), np.ones(10)
    result = one_step(optimizer, point, optimizer.init(point), lambda at: Evaluation(np.nan, at * np.nan))
    assert np.isnan(result.evaluation.value)
    assert result.parameters is point
