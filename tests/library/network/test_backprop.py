"""The kernel: the same bits whenever and wherever it runs, the same sums however the rows are cut, and no memory per block."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dbp import Network, gradient_sum
from dbp.network.activations import ActivationName
from dbp.network.backprop import Kernel, Targets, predicted_classes
from dbp.network.compiled_network import BLOCK_ROWS, LONG_BLOCK_ROWS, block_rows
from dbp.network.losses import ErrorSums, LossName

Array = NDArray[np.floating]

NETWORKS: dict[str, tuple[tuple[int, ...], tuple[ActivationName, ...]]] = {
    "no hidden layer": ((7, 3), ("identity",)),
    "one unit everywhere": ((1, 1, 1), ("tanh", "identity")),
    "a layer of one unit": ((6, 9, 1, 8, 4), ("relu", "sigmoid", "softplus", "identity")),
    "one output": ((13, 17, 1), ("leaky_relu", "identity")),
    "deep": ((5, 20, 33, 16, 3), ("tanh", "softplus", "relu", "identity")),
}
LOSSES: tuple[LossName, ...] = ("squared_error", "cross_entropy")
BLOCK = BLOCK_ROWS
HALF = BLOCK // 2
AROUND_A_BLOCK = (
    1,
    2,
    BLOCK - 1,
    BLOCK,
    BLOCK + 1,
    BLOCK + HALF - 1,
    BLOCK + HALF,
    BLOCK + HALF + 1,
    2 * BLOCK,
    3 * BLOCK + 1,
)


@dataclass(frozen=True)
class Case:
    """A network, a point and a batch of one dtype."""

    network: Network
    loss: LossName
    theta: Array
    inputs: Array
    targets: Targets

    def kernel(self, block: int | None = None) -> Kernel:
        """Return a fresh kernel at its point."""
        kernel = Kernel(self.network, self.loss, self.theta.dtype, block=block)
        kernel.move_to(self.theta)
        return kernel


def _case(name: str, loss: LossName, dtype: str, rows: int, seed: int = 0) -> Case:
    sizes, activations = NETWORKS[name]
    network = Network(sizes, activations)
    draw = np.random.default_rng([seed, rows])
    theta = (network.initial_parameters(seed, "float64") + 0.1 * draw.standard_normal(network.parameter_count)).astype(
        dtype
    )
    targets: Targets
    if loss == "cross_entropy":
        targets = draw.integers(0, max(sizes[-1], 2), rows).astype(np.int32)
    else:
        targets = draw.standard_normal((rows, sizes[-1])).astype(dtype)
    return Case(network, loss, theta, draw.standard_normal((rows, sizes[0])).astype(dtype), targets)


def _gradient(case: Case, kernel: Kernel | None = None) -> tuple[ErrorSums, Array]:
    """Return the sums and the gradient; the memory it is written to is full of NaN before."""
    gradient = np.full_like(case.theta, np.nan)
    kernel = kernel or case.kernel()
    kernel.move_to(case.theta)
    return kernel.gradient_sum(case.inputs, case.targets, gradient), gradient


def _assert_same_bits(found: tuple[ErrorSums, Array], expected: tuple[ErrorSums, Array]) -> None:
    assert found[0] == expected[0]
    assert found[1].tobytes() == expected[1].tobytes()


def _assert_close(found: tuple[ErrorSums, Array], expected: tuple[ErrorSums, Array], rows: int) -> None:
    """Agreement to the rounding of sums over so many rows, relative to the largest number."""
    eps = float(np.finfo(found[1].dtype).eps)
    tolerance = 8 * eps * max(8, rows**0.5)
    np.testing.assert_allclose(found[0], expected[0], rtol=tolerance, atol=tolerance)
    scale = float(np.abs(expected[1]).max())
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=tolerance * max(scale, 1.0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NETWORKS)
def test_block_by_block_as_in_one_block(name: str, loss: LossName, dtype: str) -> None:
    """Rows around a multiple of the block, against one block that holds them all; the outcome is finite in every number."""
    for rows in AROUND_A_BLOCK:
        case = _case(name, loss, dtype, rows)
        assert case.kernel().block_rows == BLOCK
        result = _gradient(case)
        assert np.isfinite(result[1]).all()
        _assert_close(result, _gradient(case, case.kernel(block=4 * BLOCK)), rows)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    loss=st.sampled_from(LOSSES),
    rows=st.integers(1, 30),
    cut=st.integers(0, 30),
    seed=st.integers(0, 999),
)
def test_the_sum_over_rows_is_the_sum_of_its_parts(name: str, loss: LossName, rows: int, cut: int, seed: int) -> None:
    """Two partial sums add up to that of all rows, in the left one's own memory; weights, rows and errors too."""
    case = _case(name, loss, "float64", rows + 1, seed)
    cut = min(max(cut, 1), rows)
    whole, left, right = (
        gradient_sum(case.network, case.theta, case.inputs[part], case.targets[part], loss)
        for part in (slice(None), slice(0, cut), slice(cut, None))
    )
    alone, memory = left.gradient.copy(), left.gradient
    both = left.add(right)
    assert both.gradient is memory
    np.testing.assert_array_equal(both.gradient, alone + right.gradient)
    assert (both.rows, both.weight) == (whole.rows, whole.weight) == (rows + 1, rows + 1)
    np.testing.assert_allclose(both.gradient, whole.gradient, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose((both.loss, both.squared_error), (whole.loss, whole.squared_error), rtol=1e-12)


def test_row_by_row_as_all_at_once() -> None:
    """One-row blocks through every network and loss: matrix products with a side of 1 write where they should."""
    for name in NETWORKS:
        for loss in LOSSES:
            case = _case(name, loss, "float64", 5)
            kernel = case.kernel()
            rows = [
                _gradient(Case(case.network, loss, case.theta, case.inputs[k : k + 1], case.targets[k : k + 1]), kernel)
                for k in range(5)
            ]
            summed = ErrorSums(sum(r[0].loss for r in rows), sum(r[0].squared_error for r in rows))
            _assert_close((summed, np.sum([r[1] for r in rows], axis=0)), _gradient(case), 5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_bits_when_run_twice(name: str, dtype: str) -> None:
    """By one kernel, by another, and after the kernel has seen more rows, fewer rows and NaN."""
    for loss in LOSSES:
        case = _case(name, loss, dtype, BLOCK + 300)
        kernel = case.kernel()
        first = _gradient(case, kernel)
        _assert_same_bits(_gradient(case, kernel), first)
        spoilt = _case(name, loss, dtype, 3 * BLOCK)
        spoilt.inputs[:] = np.nan
        assert np.isnan(_gradient(spoilt, kernel)[0].loss)
        _gradient(_case(name, loss, dtype, 3), kernel)
        _assert_same_bits(_gradient(case, kernel), first)
        _assert_same_bits(_gradient(case), first)


DIGESTS = """
import hashlib
import numpy as np
from dbp import Network, gradient_sum

def digests():
    found = []
    for dtype in ("float32", "float64"):
        for loss, outputs in (("squared_error", 3), ("cross_entropy", 4), ("cross_entropy", 1)):
            network = Network((11, 40, 24, outputs), ("tanh", "softplus", "identity"))
            draw = np.random.default_rng(7)
            inputs, numbers = draw.standard_normal((1500, 11)), draw.standard_normal((1500, outputs))
            targets = numbers if loss == "squared_error" else draw.integers(0, max(outputs, 2), 1500)
            result = gradient_sum(network, network.initial_parameters(5, dtype), inputs, targets, loss)
            digest = hashlib.sha256(result.gradient.tobytes())
            digest.update(np.array([result.loss, result.squared_error]).tobytes())
            found.append(digest.hexdigest())
    return " ".join(found)
"""


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_same_bits_in_a_fresh_process(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its hash seed and its number of BLAS threads: loss, squared error and gradient, in both precisions."""
    namespace: dict[str, Any] = {}
    exec(DIGESTS, namespace)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
    monkeypatch.setenv("PYTHONHASHSEED", threads)
    code = DIGESTS + "\nprint(digests())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == namespace["digests"]()
    assert len(set(done.stdout.split())) == 6


def _moved(array: NDArray[Any], offset: int) -> NDArray[Any]:
    """Return a contiguous copy that starts `offset` numbers behind a multiple of 64 bytes."""
    room = np.empty(array.nbytes + 64 + offset * array.itemsize, np.uint8)
    start = -room.ctypes.data % 64 + offset * array.itemsize
    moved = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_bits_at_any_alignment(loss: LossName, dtype: str) -> None:
    """Parameters, rows and gradient at every place within a cache line."""
    case = _case("deep", loss, dtype, BLOCK + 77)
    expected = _gradient(case)
    places = set()
    for offset in range(16):
        gradient = _moved(np.full_like(case.theta, np.nan), (offset + 5) % 16)
        kernel = case.kernel()
        theta, inputs, targets = (_moved(a, offset + k) for k, a in enumerate((case.theta, case.inputs, case.targets)))
        places.add(theta.ctypes.data % 64)
        kernel.move_to(theta)
        sums = kernel.gradient_sum(inputs, targets, gradient)
        _assert_same_bits((sums, gradient), expected)
    assert len(places) == 64 // case.theta.itemsize


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_rows_are_read_only(name: str, loss: LossName) -> None:
    """They may lie in memory that others share: nothing is written to them, and a write-protected array gives the same bits."""
    case = _case(name, loss, "float32", BLOCK + 9)
    arrays = (case.theta, case.inputs, case.targets)
    before = [array.tobytes() for array in arrays]
    expected = _gradient(case)
    expected_loss = case.kernel().loss_sum(case.inputs, case.targets)
    for array in arrays:
        array.flags.writeable = False
    _assert_same_bits(_gradient(case), expected)
    assert case.kernel().loss_sum(case.inputs, case.targets) == expected_loss
    assert [array.tobytes() for array in arrays] == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "softplus", "leaky_relu"])
def test_no_memory_is_asked_for_per_block(activation: ActivationName, loss: LossName, dtype: str) -> None:
    """After a first call, a call over many blocks asks for some small objects of Python's and for no array."""
    network = Network((128, 128, 128, 128), (activation, activation, "identity"))
    kernel = Kernel(network, loss, np.dtype(dtype))
    draw = np.random.default_rng(0)
    rows = 4 * BLOCK
    inputs = draw.standard_normal((rows, 128)).astype(dtype)
    targets: Targets
    if loss == "cross_entropy":
        targets = draw.integers(0, 128, rows).astype(np.int32)
    else:
        targets = draw.standard_normal((rows, 128)).astype(dtype)
    theta = network.initial_parameters(0, "float64").astype(dtype)
    gradient = np.empty_like(theta)
    kernel.move_to(theta)
    peaks = []
    for call in (lambda: kernel.gradient_sum(inputs, targets, gradient), lambda: kernel.loss_sum(inputs, targets)):
        call()
        tracemalloc.start()
        try:
            call()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert max(peaks) < 4096


def test_blocks_of_large_networks_are_longer() -> None:
    """A function of the number of parameters alone: the bits must not depend on anything else."""
    assert [block_rows(parameters) for parameters in (1, 99_999, 100_000, 10**9)] == [
        BLOCK,
        BLOCK,
        *[LONG_BLOCK_ROWS] * 2,
    ]
    assert (
        Kernel(Network((500, 500), ("identity",)), "squared_error", np.dtype("float32")).block_rows == LONG_BLOCK_ROWS
    )


@pytest.mark.parametrize("rows", [1, BLOCK, BLOCK + 1])
@pytest.mark.parametrize("outputs", [1, 4])
def test_class_indices_are_one_hot_targets(outputs: int, rows: int) -> None:
    """The same bits; with one output the index, 0 or 1, is the target itself."""
    network = Network((5, 6, outputs), ("tanh", "identity"))
    draw = np.random.default_rng(3)
    theta = network.initial_parameters(0)
    inputs, classes = draw.standard_normal((rows, 5)), draw.integers(0, max(outputs, 2), rows)
    one_hot = np.eye(outputs)[classes] if outputs > 1 else classes[:, None].astype(float)
    by_index, by_column = (gradient_sum(network, theta, inputs, t, "cross_entropy") for t in (classes, one_hot))
    assert by_index.gradient.tobytes() == by_column.gradient.tobytes()
    assert (by_index.loss, by_index.squared_error) == (by_column.loss, by_column.squared_error)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_loss_alone_is_that_of_the_gradient(name: str, loss: LossName) -> None:
    """The same bits of the sums; rows classified right are counted as the forward pass predicts them."""
    case = _case(name, loss, "float32", 2 * BLOCK + 5)
    sums, correct = case.kernel().loss_sum(case.inputs, case.targets)
    outputs = case.network.forward(case.theta, case.inputs)
    assert sums == _gradient(case)[0]
    predicted = predicted_classes(outputs, logits=loss == "cross_entropy")
    assert correct == (int(np.count_nonzero(predicted == case.targets)) if case.targets.ndim == 1 else 0)
    assert case.targets.ndim == 2 or 0 < correct < len(case.inputs)


def test_no_rows() -> None:
    """A gradient of none is refused: there is no mean of it."""
    case = _case("deep", "squared_error", "float64", 4)
    with pytest.raises(ValueError, match="inputs: no rows; expected at least one"):
        gradient_sum(case.network, case.theta, case.inputs[:0], case.targets[:0], case.loss)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_computation_that_overflows_says_so_in_its_loss(loss: LossName, dtype: str) -> None:
    """No warning, no error: a loss that is not finite, for the training loop to notice."""
    case = _case("deep", loss, dtype, 10)
    theta = case.theta * np.finfo(dtype).max
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        sums, _ = _gradient(Case(case.network, loss, theta, case.inputs, case.targets))
    assert not np.isfinite(sums.loss)


def test_networks_that_cannot_be_trained() -> None:
    """A threshold anywhere; an output activation in front of cross-entropy's own softmax."""
    for activations in (("threshold", "identity"), ("tanh", "threshold")):
        with pytest.raises(ValueError, match="its derivative is zero"):
            Kernel(Network((2, 3, 2), activations), "squared_error", np.dtype("float64"))
    network = Network((2, 3, 2), ("tanh", "sigmoid"))
    with pytest.raises(ValueError, match="output activation 'sigmoid'; expected 'identity' with cross_entropy"):
        Kernel(network, "cross_entropy", np.dtype("float64"))
    assert Kernel(network, "squared_error", np.dtype("float64")).network is network


def test_arguments_that_do_not_fit() -> None:
    """Each with its name, what was seen and what is expected; class indices are checked before they are used."""
    network = Network((3, 4, 2), ("tanh", "identity"))
    theta, inputs, targets = network.initial_parameters(0), np.zeros((5, 3)), np.zeros((5, 2))
    refused: list[tuple[Any, Any, Any, LossName, str]] = [
        (theta[:-1], inputs, targets, "squared_error", r"parameters: shape \(25,\); expected \(26,\)"),
        (theta.astype(int), inputs, targets, "squared_error", "parameters: dtype int64; expected float32 or float64"),
        (theta, inputs[:, :2], targets, "squared_error", r"inputs: shape \(5, 2\); expected \(rows, 3\)"),
        (theta, inputs, targets[:4], "squared_error", "targets: 4 rows; expected 5"),
        (theta, inputs, targets[:, :1], "squared_error", r"targets: shape \(5, 1\); expected \(rows, 2\)"),
        (theta, inputs, [0, 1, 2, 0, 0], "cross_entropy", "targets: class indices 0 to 2; expected 0 to 1"),
        (theta, inputs, [0, 1, -1, 0, 0], "cross_entropy", "targets: class indices -1 to 1; expected 0 to 1"),
        (theta, inputs, targets, "hinge", "'hinge' is not a loss"),  # type: ignore[list-item]
    ]
    for *arguments, words in refused:
        with pytest.raises(ValueError, match=words):
            gradient_sum(network, *arguments)
