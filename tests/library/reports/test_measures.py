"""Error signals, confusions and residuals against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dbp
from dbp.data.encoding import Encoding
from dbp.models.model import Model
from dbp.reports.facts import Snapshot
from dbp.reports.measures import chosen_steps, outcome
from dbp.sums.signals import Probe, spread_rows


def test_a_snapshot_is_the_rms_of_the_recursion() -> None:
    """S2, written out: delta_j = sum_k delta_k g'(r_k) w[j,k]."""
    network = dbp.Network((3, 4, 2), ("tanh", "identity"))
    theta = network.initial_parameters(seed=3, dtype="float64")
    draw = np.random.default_rng(1)
    inputs, targets = draw.standard_normal((50, 3)), draw.standard_normal((50, 2))
    first, second = network.layers(theta)
    hidden = np.tanh(inputs @ first.weights + first.bias)
    deltas = [hidden @ second.weights + second.bias - targets]
    deltas.insert(0, deltas[0] @ second.weights.T)
    deltas.insert(0, (deltas[0] * (1 - hidden**2)) @ first.weights.T)
    found = Snapshot(7, "x", tuple(Probe(network, "squared_error", 1.0, inputs, targets).sizes(theta)))
    assert [len(layer) for layer in found.layers] == [3, 4, 2]
    for layer, delta in zip(found.layers, deltas, strict=True):
        assert layer == pytest.approx(np.sqrt((delta**2).mean(axis=0)), rel=1e-12)
    assert found.per_layer == pytest.approx([np.sqrt((delta**2).mean()) for delta in deltas], rel=1e-12)


def test_labels_are_counted_and_rates_are_in_their_own_unit() -> None:
    """Of a multilabel model: rows with, predicted and both, for each label; of counts, exp of the outputs."""
    columns = ("a", "b"), (0.0,) * 2, (1.0,) * 2
    theta = np.array([1.0, 0, 0, 1, 0, 0])
    labels = Encoding(*columns, ("rain", "snow"), "multilabel", labels=((0, 1), ("no", "yes")))
    model = Model(dbp.Network((2, 2), ("identity",)), theta, labels, "binary_cross_entropy")
    inputs, known = np.array([[1.0, -1], [1, 1], [-1, 1]]), np.array([[1.0, 0], [0, 1], [0, 1]])
    found = outcome(model, inputs, known, 3)
    assert [(each.target, each.label) for each in found.labels] == [("rain", 1), ("snow", "yes")]
    assert [(each.known, each.predicted, each.right) for each in found.labels] == [(1, 2, 1), (2, 2, 2)]
    counts = Encoding(*columns, ("y", "z"), "regression", (), (0.0,) * 2, (1.0,) * 2, counts=True)
    model = Model(model.network, theta, counts, "poisson")
    for place, residuals in enumerate(outcome(model, inputs, known, 3).residuals):
        np.testing.assert_allclose(residuals.predicted, np.exp(inputs[:, place]))
        np.testing.assert_array_equal(residuals.known, known[:, place])


@given(st.integers(1, 10_000), st.integers(1, 500))
def test_spread_rows_are_inside_and_few(rows: int, most: int) -> None:
    """Ranges follow each other without overlap; all rows where they are few, and both ends of a table where not."""
    ranges = spread_rows(rows, most)
    taken = [row for start, stop in ranges for row in range(start, stop)]
    assert taken == sorted(set(taken))
    assert 1 <= len(taken) <= most
    assert taken[0] == 0
    assert taken[-1] < rows
    if rows <= most:
        assert len(taken) == rows
    elif most > 1:
        assert taken[-1] == rows - 1


@given(st.lists(st.integers(0, 999), max_size=30, unique=True).map(sorted), st.integers(2, 12))
def test_chosen_steps(steps: list[int], most: int) -> None:
    """The first and the last are among them."""
    chosen = chosen_steps(steps, most)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(len(steps), most)
    assert (chosen[:1], chosen[-1:]) == (steps[:1], steps[-1:])


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_confusion_counts_known_by_predicted(outputs: int) -> None:
    """A network that copies its input, by one output and by two."""
    weights = [[1.0]] if outputs == 1 else [[0.0, 1.0]]
    encoding = Encoding(("x",), (0.0,), (1.0,), ("c",), "classification", ("no", "yes"))
    theta = np.array([*weights[0], *[0.0] * outputs])
    model = Model(dbp.Network((1, outputs), ("identity",)), theta, encoding, "cross_entropy")
    found = outcome(model, np.array([[-1.0], [2.0], [3.0], [-4.0], [5.0]]), np.array([0, 1, 0, 1, 1], np.int32), of=9)
    assert found.confusion is not None
    assert found.confusion.counts.tolist() == [[1, 1], [1, 2]]
    assert (found.rows, found.of) == (5, 9)


def test_residuals_are_in_the_targets_own_units() -> None:
    """Encoded = (value - mean) / scale, per target."""
    encoding = Encoding(("x",), (0.0,), (1.0,), ("u", "v"), "regression", (), (10.0, 0.0), (2.0, 1.0))
    model = Model(dbp.Network((1, 2), ("identity",)), np.array([1.0, 0.5, 0.0, 0.0]), encoding, "squared_error")
    found = outcome(model, np.array([[1.0], [2.0]]), np.array([[0.0, 1.0], [1.0, 1.0]]), of=2)
    first, second = found.residuals
    assert (first.target, first.known.tolist(), first.predicted.tolist()) == ("u", [10.0, 12.0], [12.0, 14.0])
    assert (second.target, second.known.tolist(), second.predicted.tolist()) == ("v", [1.0, 1.0], [0.5, 1.0])
