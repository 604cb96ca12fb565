"""Networks: what is refused, how a flat vector is cut up, start values that depend on the seed alone, and the forward pass."""

from __future__ import annotations

import hashlib
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbp import Network
from dbp.sums.gradient import gauss_newton_sum

sizes_drawn = st.lists(st.integers(1, 9), min_size=2, max_size=5)


def _plain(sizes: tuple[int, ...] | list[int]) -> Network:
    return Network(sizes, ["identity"] * (len(sizes) - 1))


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (0, 3), (3, -1, 2), (3, 2.5, 1)])
def test_sizes_that_are_refused(sizes: tuple[int, ...]) -> None:
    """What was given and what is expected."""
    with pytest.raises(ValueError) as refusal:
        Network(sizes, ["identity"] * max(0, len(sizes) - 1))
    assert str(refusal.value) == f"sizes: {sizes}; expected at least two whole numbers of 1 or more"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_or_too_many_activations(count: int) -> None:
    """How many there are, and for how many layers."""
    with pytest.raises(
        ValueError, match=f"activations: {count} given for 2 layers; expected one per layer after the input"
    ):
        Network((2, 3, 1), ["tanh"] * count)


def test_an_activation_of_no_known_name() -> None:
    """The names there are."""
    with pytest.raises(ValueError, match="'Relu' is not an activation; expected one of: identity, threshold, sigmoid"):
        Network((2, 3, 1), ["tanh", "Relu"])  # type: ignore[list-item]


def test_networks_are_values() -> None:
    """Equal when sizes and activations are, however they were given, and usable as keys; numpy's numbers become plain ones."""
    one, other = Network([2, 3, 1], ["tanh", "identity"]), Network(list(np.array([2, 3, 1])), ("tanh", "identity"))
    assert one == other
    assert len({one, other}) == 1
    assert [type(size) for size in other.sizes] == [int] * 3
    assert one != Network((2, 3, 1), ("tanh", "tanh"))
    assert one.trainable
    assert not Network((2, 3, 1), ("threshold", "identity")).trainable


def test_the_layout_of_parameters_number_by_number() -> None:
    """Per layer the weights (fan_in, fan_out) row-major, then the bias."""
    network = _plain((2, 3, 1))
    assert network.parameter_count == 13
    first, second = network.layers(np.arange(13.0))
    assert first.weights.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert first.bias.tolist() == [6, 7, 8]
    assert second.weights.tolist() == [[9], [10], [11]]
    assert second.bias.tolist() == [12]


@settings(deadline=None)
@given(sizes=sizes_drawn)
def test_views_are_views_and_cover_the_vector_once(sizes: list[int]) -> None:
    """Writing through the views writes into the vector, every number of it exactly once."""
    network = _plain(sizes)
    theta = np.zeros(network.parameter_count)
    for layer, (fan_in, fan_out) in zip(network.layers(theta), itertools.pairwise(sizes), strict=True):
        assert (layer.weights.shape, layer.bias.shape) == ((fan_in, fan_out), (fan_out,))
        for part in (layer.weights, layer.bias):
            assert np.shares_memory(part, theta)
            assert part.flags.c_contiguous
            part += 1
    assert (theta == 1).all()
    theta.flags.writeable = False
    assert not any(layer.weights.flags.writeable or layer.bias.flags.writeable for layer in network.layers(theta))


@pytest.mark.parametrize("shape", [(12,), (14,), (13, 1), (0,)])
def test_a_vector_that_does_not_fit(shape: tuple[int, ...]) -> None:
    """Its shape, and the one the sizes need."""
    with pytest.raises(ValueError) as refusal:
        list(_plain((2, 3, 1)).layers(np.zeros(shape)))
    assert str(refusal.value) == f"parameters: shape {shape}; expected (13,) for sizes (2, 3, 1)"


@settings(deadline=None)
@given(sizes=sizes_drawn, seed=st.integers(0, 2**64))
def test_start_values_are_bounded_and_biases_zero(sizes: list[int], seed: int) -> None:
    """Weights within ±sqrt(6 / (fan_in + fan_out)) in either precision, and float32 is float64 rounded."""
    network = _plain(sizes)
    theta = network.initial_parameters(seed, "float64")
    assert theta.dtype == np.float64
    np.testing.assert_array_equal(network.initial_parameters(seed), theta.astype(np.float32))
    for layer, (fan_in, fan_out) in zip(network.layers(theta), itertools.pairwise(sizes), strict=True):
        assert (np.abs(layer.weights) <= math.sqrt(6 / (fan_in + fan_out))).all()
        assert (layer.bias == 0).all()
        assert (layer.weights != 0).all()


def test_start_values_fill_their_range_evenly() -> None:
    """Uniform: the variance is limit² / 3, each quarter of the range holds its share, and layers are not alike."""
    network = _plain((200, 200, 200))
    first, second = network.layers(network.initial_parameters(0, "float64"))
    limit = math.sqrt(6 / 400)
    for layer in (first, second):
        assert math.isclose(float(layer.weights.var()), limit**2 / 3, rel_tol=0.03)
        counts = np.histogram(layer.weights, bins=4, range=(-limit, limit))[0]
        np.testing.assert_allclose(counts, 10_000, rtol=0.05)
    assert abs(float(np.corrcoef(first.weights.ravel(), second.weights.ravel())[0, 1])) < 0.03


def test_start_values_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on numpy's global state, the hash seed, the activations or the process; another seed gives others."""
    theta = Network((5, 7, 2), ["tanh", "identity"]).initial_parameters(12)
    np.random.seed(3)
    np.testing.assert_array_equal(Network((5, 7, 2), ["relu", "sigmoid"]).initial_parameters(12), theta)
    assert (np.abs(_plain((5, 7, 2)).initial_parameters(13) - theta)[:35] > 0).all()
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    code = (
        "import hashlib, dbp; "
        "theta = dbp.Network((5, 7, 2), ['tanh', 'identity']).initial_parameters(12); "
        "print(hashlib.sha256(theta.tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(theta.tobytes()).hexdigest()


def test_a_later_layer_starts_the_same_whatever_comes_after_it() -> None:
    """Layers draw from streams of their own: a deeper network starts like the shallow one it begins with."""
    shallow, deep = _plain((4, 6, 3)), _plain((4, 6, 3, 8))
    np.testing.assert_array_equal(deep.initial_parameters(1)[: shallow.parameter_count], shallow.initial_parameters(1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [0, 1, 2, 1023, 1024, 1025, 2100])
def test_outputs_of_any_number_of_rows(rows: int, dtype: str) -> None:
    """Across the cuts of the forward pass, against plain numpy; inputs and parameters stay as they are."""
    network = Network((3, 5, 2), ["tanh", "identity"])
    theta = network.initial_parameters(1, "float64").astype(dtype)
    inputs = np.random.default_rng(rows).standard_normal((rows, 3)).astype(dtype)
    before = inputs.copy()
    theta.flags.writeable = inputs.flags.writeable = False
    outputs = network.forward(theta, inputs)
    np.testing.assert_array_equal(inputs, before)
    first, second = network.layers(theta.astype(np.float64))
    expected = np.tanh(inputs.astype(float) @ first.weights + first.bias) @ second.weights + second.bias
    assert (outputs.shape, outputs.dtype) == ((rows, 2), np.dtype(dtype))
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=30 * float(np.finfo(dtype).eps))


def test_inputs_of_any_layout() -> None:
    """Lists, whole numbers, columns-first and strided arrays give the same bits; one feature may come as a flat list."""
    network = Network((3, 4, 2), ["sigmoid", "identity"])
    theta = network.initial_parameters(0, "float64")
    rows = np.random.default_rng(0).integers(-3, 3, (10, 3))
    expected = network.forward(theta, rows.astype(float))
    strided = np.zeros((20, 6))
    strided[::2, ::2] = rows
    for same in (rows, rows.tolist(), np.asfortranarray(rows.astype(float)), strided[::2, ::2]):
        np.testing.assert_array_equal(network.forward(theta, same), expected)
    np.testing.assert_array_equal(_plain((1, 1)).forward(np.array([2.0, 1.0]), [1.0, 5.0]), [[3.0], [11.0]])


@pytest.mark.parametrize("shape", [(3,), (4, 2), (2, 3, 1), (0,)])
def test_inputs_that_do_not_fit(shape: tuple[int, ...]) -> None:
    """Their shape, and the one that is expected."""
    with pytest.raises(ValueError) as refusal:
        _plain((3, 2)).forward(np.zeros(8), np.zeros(shape))
    assert str(refusal.value) == f"inputs: shape {shape}; expected (rows, 3)"


@pytest.mark.parametrize("size", [math.inf, math.nan])
def test_a_size_that_is_no_number_is_refused(size: float) -> None:
    """ValueError like any other size that cannot be."""
    with pytest.raises(ValueError, match="whole numbers of 1 or more"):
        Network((size, 1), ["tanh"])  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["int64", "float16", ">f4", ">f8"])
def test_parameters_of_another_type_are_refused(dtype: str) -> None:
    """Their bytes would be read as other numbers."""
    network = Network((2, 3, 1), ("tanh", "identity"))
    theta = network.initial_parameters(0).astype(dtype)
    with pytest.raises(ValueError, match="expected float32 or float64"):
        network.forward(theta, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="expected float32 or float64"):
        gauss_newton_sum(network, theta, np.zeros((1, 2)))
