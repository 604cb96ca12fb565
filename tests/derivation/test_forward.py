"""Rows F1-F4: neurons, layers, activations, and what one threshold neuron can and cannot separate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from derivation.comparing import as_lists, relative_error
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from strategies import TRAINABLE, problems

import dbp
from dbp.network.activations import ACTIVATION_NAMES

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
AND, OR, XOR = [0, 0, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0]


@pytest.mark.parametrize("g", ACTIVATION_NAMES)
def test_f1_one_neuron(g):
    """f(v) = g(sum_i x_i w_i + b), by hand."""
    from references.naive import ACTIVATIONS

    x, w, b = [0.5, -2.0, 3.0], [0.1, 0.7, -0.2], 0.25
    r = 0.5 * 0.1 - 2.0 * 0.7 + 3.0 * -0.2 + 0.25
    found = dbp.Network((3, 1), (g,)).forward(np.array([*w, b]), [x])
    assert math.isclose(found[0, 0], ACTIVATIONS[g][0](r), rel_tol=1e-14)


def test_f2_two_layers():
    """y_n = g(sum_i f_1,i w_i,n + b_2,n) with f_1,i = tanh(sum_j x_j w_1,i,j + b_1,i), every number written out."""
    x1, x2 = 0.3, -1.2
    theta = np.array([0.1, 0.2, -0.3, 0.4, 0.5, -0.6, 0.05, -0.15, 0.25, 0.7, -0.8, 0.9, 0.35])
    f1 = math.tanh(x1 * 0.1 + x2 * 0.4 + 0.05)
    f2 = math.tanh(x1 * 0.2 + x2 * 0.5 - 0.15)
    f3 = math.tanh(x1 * -0.3 + x2 * -0.6 + 0.25)
    y = 1 / (1 + math.exp(-(f1 * 0.7 + f2 * -0.8 + f3 * 0.9 + 0.35)))
    found = dbp.Network((2, 3, 1), ("tanh", "sigmoid")).forward(theta, [[x1, x2]])
    assert math.isclose(found[0, 0], y, rel_tol=1e-14)


@pytest.mark.parametrize("g", TRAINABLE)
def test_f2_any_number_of_layers_and_outputs(g):
    """Drawn networks, a different g per layer, against loops over neurons."""

    @given(problems(g, "squared_error"))
    def agree(case):
        found = case.network.forward(case.theta, case.inputs)
        net = as_lists(case)
        assert relative_error(found, [net.outputs(x)[-1] for x in case.inputs.tolist()]) < 1e-12

    agree()


@pytest.mark.parametrize("g", ACTIVATION_NAMES)
@given(r=st.floats(-700, 700))
def test_f3_activations(g, r):
    """Each against its formula, over all the numbers whose exponential is one."""
    from references.naive import ACTIVATIONS

    found = dbp.Network((1, 1), (g,)).forward(np.array([1.0, 0.0]), [[r]])[0, 0]
    assert math.isclose(found, ACTIVATIONS[g][0](r), rel_tol=1e-13, abs_tol=1e-300)


def test_f3_a_threshold_neuron_splits_space_by_one_plane():
    """w x + b >= 0 on one side, 0 on the other."""
    draw = np.random.default_rng(1)
    w, b, points = draw.standard_normal(3), 0.4, draw.standard_normal((500, 3))
    found = dbp.Network((3, 1), ("threshold",)).forward(np.array([*w, b]), points)[:, 0]
    np.testing.assert_array_equal(found, (points @ w + b >= 0).astype(float))


@pytest.mark.parametrize(("targets", "bias"), [(AND, -1.5), (OR, -0.5)])
def test_f4_one_threshold_neuron_separates_and_and_or(targets, bias):
    """Weights 1 and 1, and a bias between the corners."""
    found = dbp.Network((2, 1), ("threshold",)).forward(np.array([1.0, 1.0, bias]), CORNERS)[:, 0]
    np.testing.assert_array_equal(found, targets)


def _separable(targets: list[int]) -> bool:
    """Whether a plane has the ones on its side by a margin: a linear programme in (w1, w2, b)."""
    signs = np.where(np.array(targets) == 1, 1.0, -1.0)
    rows = -signs[:, None] * np.column_stack([CORNERS, np.ones(4)])
    found = linprog(np.zeros(3), A_ub=rows, b_ub=-np.ones(4), bounds=[(None, None)] * 3)
    assert found.status in (0, 2)  # solved, or infeasible
    return bool(found.status == 0)


def test_f4_no_single_neuron_separates_xor():
    """There is no such plane (the linear programme is infeasible); for AND and OR there is."""
    assert (_separable(AND), _separable(OR), _separable(XOR)) == (True, True, False)


@pytest.mark.parametrize(
    "loss",
    ["task: classification", "task: regression\nloss: squared_error", "task: classification\nloss: squared_error"],
)
def test_f4_two_layers_learn_xor(tmp_path, loss):
    """A whole job: table, training, model; the model is right about all four corners."""
    lines = [f"{int(a)},{int(b)},{t}" for (a, b), t in zip(CORNERS, XOR, strict=True)]
    (tmp_path / "xor.csv").write_text("\n".join(["x1,x2,y", *lines]) + "\n")
    (tmp_path / "xor.yaml").write_text(
        f"""\
name: xor
data: {{train: xor.csv, target: y, standardize: true}}
{loss}
network: {{hidden: [4], activation: tanh}}
optimizer: {{name: gradient_descent, learning_rate: 0.3, momentum: 0.9}}
training: {{max_steps: 500, seed: 1}}
workers: 0
storage: {tmp_path}
"""
    )
    model = dbp.train(dbp.Job.from_file(tmp_path / "xor.yaml")).model
    np.testing.assert_allclose(model.predict(CORNERS), XOR, atol=0.05)
