"""Rows S1-S5: the error signal travels back; and the gradient made of it, against the written-out sums and against differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from derivation.comparing import FLOOR, as_lists, relative_error
from hypothesis import given
from references import naive
from references.naive import ACTIVATIONS
from strategies import LOSSES, OF_NET_INPUTS, TRAINABLE, problem, problems

import dbp

EVERY = [(g, loss) for g in TRAINABLE for loss in LOSSES[:2]] + [("tanh", loss) for loss in LOSSES[2:]]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_s1_the_signal_begins_as_output_minus_target(loss, outputs):
    """delta = y - t, of probabilities for cross-entropy; times g'(r) times the input of a weight it is that weight's gradient."""
    case = problem((4, outputs), ("identity" if loss in OF_NET_INPUTS else "tanh",), loss, 1, 5)
    signals = dbp.error_signals(case.network, case.theta, case.inputs, case.targets, loss)
    net = as_lists(case)
    y = net.outputs(case.inputs[0].tolist())[-1]
    error = naive.sample_error(y, case.targets[0].tolist(), loss)
    assert relative_error(signals[-1][0], error) < 1e-12
    (r,) = net.nets(case.inputs[0].tolist())
    slope = [ACTIVATIONS[case.network.activations[0]][1](x) for x in r]
    by_hand = [e * s * x for x in case.inputs[0].tolist() for e, s in zip(error, slope, strict=True)]
    gradient = dbp.gradient_sum(case.network, case.theta, case.inputs, case.targets, loss).gradient
    assert relative_error(gradient[: 4 * outputs], by_hand) < 1e-12


@pytest.mark.parametrize(("g", "loss"), EVERY)
def test_s2_the_signal_goes_back_over_every_path(g, loss):
    """delta_j = sum_k delta_k g'(r_k) w[j,k]: the kernel's recursion against the sum over all paths, in every neuron."""

    @given(problems(g, loss, rows=4, width=4))
    def agree(case):
        signals = dbp.error_signals(case.network, case.theta, case.inputs, case.targets, loss)
        net = as_lists(case)
        for row, (x, t) in enumerate(zip(case.inputs.tolist(), case.targets.tolist(), strict=True)):
            expected = naive.error_signals(net, x, t, loss)
            # Where paths cancel, what is left is measured by the signal where it is largest.
            largest = max(np.abs(layer).max() for layer in expected)
            for found, layer in zip(signals, expected, strict=True):
                assert relative_error(found[row], layer, max(largest, FLOOR)) < 1e-12

    agree()


@pytest.mark.parametrize(("g", "loss"), EVERY)
def test_s3_the_gradient_is_the_written_out_sum(g, loss):
    """dE/dw[A,B] = sum_i delta_B g'(r_B) out_A and dE/db_B = sum_i delta_B g'(r_B), in layers of any number."""

    @given(problems(g, loss, rows=12, width=5, layers=3))
    def agree(case):
        found = dbp.gradient_sum(case.network, case.theta, case.inputs, case.targets, loss).gradient
        expected = naive.gradient(as_lists(case), case.inputs.tolist(), case.targets.tolist(), loss)
        assert relative_error(found, expected) < 1e-12

    agree()


@pytest.mark.parametrize("g", TRAINABLE)
def test_s4_the_three_layer_example(g):
    """x_1, x_2 -> 1, 2 -> 3, 4 -> 5: every weight of the first layer written out over its two paths; and equal to S2."""
    case = problem((2, 2, 2, 1), (g, g, g), "squared_error", 9, 3)
    value, slope = ACTIVATIONS[g]
    th = case.theta.tolist()
    w = {"x1,1": th[0], "x1,2": th[1], "x2,1": th[2], "x2,2": th[3], "1,3": th[6], "1,4": th[7], "2,3": th[8]}
    w |= {"2,4": th[9], "3,5": th[12], "4,5": th[13]}
    b1, b2, b3, b4, b5 = th[4], th[5], th[10], th[11], th[14]
    terms: dict[str, list[float]] = {name: [] for name in ("x1,1", "x2,1", "x1,2", "x2,2")}
    for (x1, x2), (t,) in zip(case.inputs.tolist(), case.targets.tolist(), strict=True):
        r1 = math.fsum([x1 * w["x1,1"], x2 * w["x2,1"], b1])
        r2 = math.fsum([x1 * w["x1,2"], x2 * w["x2,2"], b2])
        r3 = math.fsum([value(r1) * w["1,3"], value(r2) * w["2,3"], b3])
        r4 = math.fsum([value(r1) * w["1,4"], value(r2) * w["2,4"], b4])
        r5 = math.fsum([value(r3) * w["3,5"], value(r4) * w["4,5"], b5])
        d = (value(r5) - t) * slope(r5)
        to1 = w["3,5"] * slope(r3) * w["1,3"] + w["4,5"] * slope(r4) * w["1,4"]
        to2 = w["3,5"] * slope(r3) * w["2,3"] + w["4,5"] * slope(r4) * w["2,4"]
        for name, x, way, r in (
            ("x1,1", x1, to1, r1),
            ("x2,1", x2, to1, r1),
            ("x1,2", x1, to2, r2),
            ("x2,2", x2, to2, r2),
        ):
            terms[name].append(d * way * slope(r) * x)
    by_hand = [math.fsum(terms[name]) for name in ("x1,1", "x1,2", "x2,1", "x2,2")]
    found = dbp.gradient_sum(case.network, case.theta, case.inputs, case.targets, "squared_error").gradient[:4]
    assert relative_error(found, by_hand) < 1e-12


def test_s5_which_neurons_the_signal_reaches_and_how_large_it_is_there():
    """Of 5 it reaches 3 and 4, of these the neurons they are fed by; a cut connection and a silent neuron let nothing through."""
    network = dbp.Network((2, 2, 2, 1), ("identity", "relu", "identity"))
    theta = np.array([1.0, 0, 0, 1, 0, 0, 1.0, 1, 1, 1, 0, -100, 2.0, 3.0, 0])  # neuron 4 is silent: its bias is -100
    at_inputs, at_first, at_second, at_output = dbp.error_signals(
        network, theta, [[1.0, 2.0]], [[4.0]], "squared_error"
    )
    np.testing.assert_array_equal(at_output, [[2.0]])  # y = 2 (1 + 2) = 6, t = 4
    np.testing.assert_array_equal(at_second, [[4.0, 6.0]])  # times the weights 2 and 3
    np.testing.assert_array_equal(at_first, [[4.0, 4.0]])  # through neuron 3 alone
    np.testing.assert_array_equal(at_inputs, [[4.0, 4.0]])


def test_s5_the_signal_of_many_rows_is_that_of_each_row():
    """Also across the kernel's blocks."""
    case = problem((3, 4, 2), ("tanh", "identity"), "squared_error", 1500, 8)
    whole = dbp.error_signals(case.network, case.theta, case.inputs, case.targets, case.loss)
    for row in (0, 749, 750, 1499):
        one = dbp.error_signals(
            case.network, case.theta, case.inputs[row : row + 1], case.targets[row : row + 1], case.loss
        )
        for many, alone in zip(whole, one, strict=True):
            np.testing.assert_allclose(many[row], alone[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("g", "loss"), EVERY)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_gradient_agrees_with_central_differences(g, loss, outputs):
    """(E(w + e) - E(w - e)) / 2e in every coordinate."""
    case = problem((3, 5, 4, outputs), (g, g, "identity"), loss, 6, 11)
    step = 1e-5

    def value(theta):
        return dbp.gradient_sum(case.network, theta, case.inputs, case.targets, loss).loss

    found = dbp.gradient_sum(case.network, case.theta, case.inputs, case.targets, loss).gradient
    differences = []
    for coordinate in range(len(case.theta)):
        up, down = case.theta.copy(), case.theta.copy()
        up[coordinate] += step
        down[coordinate] -= step
        differences.append((value(up) - value(down)) / (2 * step))
    assert relative_error(found, differences) < 1e-8
