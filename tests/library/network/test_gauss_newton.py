"""J'J of the outputs and the Cholesky solver: against torch's Jacobian and numpy's solver; the same bits everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import autodiff

from dbp import Network
from dbp.network import compiled
from dbp.network.backprop import Kernel
from dbp.vectors import solve_positive_definite

HERE = compiled.INSTRUCTION_SETS[: compiled.INSTRUCTION_SETS.index(compiled.instruction_set()) + 1]


def gram(network, theta, inputs, weights=None, instructions=None):
    kernel = Kernel(network, "squared_error", theta.dtype, instructions=instructions)
    kernel.move_to(theta)
    found = np.full((len(theta), len(theta)), np.nan, theta.dtype)
    kernel.gauss_newton_sum(inputs, found, weights)
    assert (np.tril(found, -1) == 0).all()
    return found


def case(sizes, rows, seed, dtype="float64"):
    names = [("tanh", "sigmoid", "softplus")[k % 3] for k in range(len(sizes) - 2)]
    network, draw = Network(sizes, [*names, "identity"]), np.random.default_rng(seed)
    theta = network.initial_parameters(seed, dtype)
    return network, theta, draw.standard_normal((rows, sizes[0])).astype(dtype), draw


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    rows=st.one_of(st.integers(1, 20), st.sampled_from([128, 129, 300])),
    seed=st.integers(0, 999),
)
def test_the_gauss_newton_matrix_is_that_of_torchs_jacobian(sizes, rows, seed):
    """torch.func.jacrev, every row and output; float64, weights and all."""
    network, theta, inputs, draw = case(sizes, rows, seed)
    weights = draw.uniform(0, 2, rows)
    jacobian = torch.func.jacrev(
        lambda point: autodiff.forward(network.sizes, network.activations, point, torch.tensor(inputs))
    )(torch.tensor(theta)).numpy()
    expected = np.triu(np.einsum("mnp,mnq,m->pq", jacobian, jacobian, weights))
    scale = max(np.abs(expected).max(), 1e-3)
    np.testing.assert_allclose(gram(network, theta, inputs, weights), expected, rtol=0, atol=1e-12 * scale)
    whole = np.triu(np.einsum("mnp,mnq->pq", jacobian, jacobian))
    np.testing.assert_allclose(gram(network, theta, inputs), whole, rtol=0, atol=1e-12 * max(np.abs(whole).max(), 1e-3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(3, 4, 1), (9, 17, 3), (5, 30, 12, 2)])
def test_every_instruction_set_gives_the_same_matrix(sizes, dtype):
    network, theta, inputs, draw = case(sizes, 300, 1, dtype)
    weights = draw.uniform(0, 2, 300).astype(dtype)
    assert len({gram(network, theta, inputs, weights, each).tobytes() for each in HERE}) == 1


@settings(deadline=None, max_examples=40)
@given(size=st.integers(1, 90), seed=st.integers(0, 999))
def test_the_solver_solves(size, seed):
    """Against numpy's, and by the residual; only the upper triangle is read, and nothing is written to."""
    draw = np.random.default_rng(seed)
    root, right = draw.standard_normal((size + 3, size)), draw.standard_normal(size)
    matrix = root.T @ root + 0.1 * np.eye(size)
    upper = np.triu(matrix) + np.tril(np.full_like(matrix, np.nan), -1)
    before = right.copy()
    found = solve_positive_definite(upper, right)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(right, before)


def test_a_matrix_that_is_not_positive_definite_has_no_solution():
    assert solve_positive_definite(np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2)) is None
    assert solve_positive_definite(np.array([[np.nan]]), np.ones(1)) is None


def test_the_solver_has_the_same_bits_everywhere():
    draw = np.random.default_rng(0)
    root = draw.standard_normal((120, 100))
    found = set()
    for instructions in HERE:
        matrix, right = root.T @ root, np.ones(100)
        call = compiled.functions("float64", instructions)
        call.solve(100, compiled.address(matrix), compiled.address(right))
        found.add(right.tobytes())
    assert len(found) == 1
