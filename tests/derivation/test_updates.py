"""Rows U1-U5: the update rules of a two-layer network, h applied to the sum, with the source's slips of the pen mended."""

from __future__ import annotations

import math

import numpy as np
import pytest
from derivation.comparing import relative_error
from references.naive import ACTIVATIONS
from strategies import TRAINABLE, problem

import dbp
from dbp.optimizers.gradient_descent import GradientDescent
from dbp.optimizers.protocol import Evaluation

H = 0.05
PAIRS = [(hidden, out) for hidden in TRAINABLE for out in TRAINABLE]


class TwoLayers:
    """x_A -> neurons B -> one output, written as the derivation writes it; sums over samples i by fsum."""

    def __init__(self, hidden: str, out: str, seed: int = 0) -> None:
        self.case = problem((3, 4, 1), (hidden, out), "squared_error", 17, seed)
        theta = self.case.theta.tolist()
        self.w = [theta[4 * a : 4 * a + 4] for a in range(3)]
        self.b, self.v, self.b_out = theta[12:16], theta[16:20], theta[20]
        self.g, self.dg = ACTIVATIONS[hidden]
        self.g_out, self.dg_out = ACTIVATIONS[out]
        self.x, self.t = self.case.inputs.tolist(), [row[0] for row in self.case.targets.tolist()]

    def r(self, i: int, b: int) -> float:
        return math.fsum([*(self.x[i][a] * self.w[a][b] for a in range(3)), self.b[b]])

    def r_out(self, i: int) -> float:
        return math.fsum([*(self.g(self.r(i, b)) * self.v[b] for b in range(4)), self.b_out])

    def error(self, i: int) -> float:
        """(y - t) g'(r_out)."""
        return (self.g_out(self.r_out(i)) - self.t[i]) * self.dg_out(self.r_out(i))

    def total(self, term) -> float:
        return math.fsum(term(i) for i in range(len(self.x)))

    def gradient(self) -> np.ndarray:
        """dE/d(parameter) as the library calls it."""
        case = self.case
        return dbp.gradient_sum(case.network, case.theta, case.inputs, case.targets, "squared_error").gradient


def test_u1_the_rule():
    """w(l+1) = w(l) - h dE/dw(w(l)), three times over, by the optimiser and by hand."""
    two = TwoLayers("tanh", "identity")
    case, found = two.case, two.case.theta
    by_hand = found.tolist()
    for _ in range(3):
        trials = GradientDescent(H).step(found, {})
        total = dbp.gradient_sum(case.network, next(trials), case.inputs, case.targets, "squared_error")
        with pytest.raises(StopIteration) as done:
            trials.send(Evaluation(total.loss, total.gradient))
        gradient = dbp.gradient_sum(
            case.network, np.array(by_hand), case.inputs, case.targets, "squared_error"
        ).gradient
        by_hand = [w - H * d for w, d in zip(by_hand, gradient.tolist(), strict=True)]
        found = done.value.value.parameters
    assert relative_error(found, by_hand) < 1e-13


@pytest.mark.parametrize(("hidden", "out"), PAIRS)
def test_u2_weights_of_the_output_layer(hidden, out):
    """dE/dw_A = sum_i (y - t) g'(r_out) g(r_A)."""
    two = TwoLayers(hidden, out)
    by_hand = [two.total(lambda i, a=a: two.error(i) * two.g(two.r(i, a))) for a in range(4)]
    assert relative_error(two.gradient()[16:20], by_hand) < 1e-12


@pytest.mark.parametrize(("hidden", "out"), PAIRS)
def test_u3_weights_of_the_hidden_layer(hidden, out):
    """dE/dw[A,B] = sum_i (y - t) g'(r_out) w_B g'(r_B) x_A."""
    two = TwoLayers(hidden, out)
    by_hand = [
        two.total(lambda i, a=a, b=b: two.error(i) * two.v[b] * two.dg(two.r(i, b)) * two.x[i][a])
        for a in range(3)
        for b in range(4)
    ]
    assert relative_error(two.gradient()[:12], by_hand) < 1e-12


@pytest.mark.parametrize(("hidden", "out"), PAIRS)
def test_u4_the_output_bias(hidden, out):
    """dE/db = sum_i (y - t) g'(r_out)."""
    two = TwoLayers(hidden, out)
    assert relative_error(two.gradient()[20:], [two.total(two.error)]) < 1e-12


@pytest.mark.parametrize(("hidden", "out"), PAIRS)
def test_u5_the_hidden_biases(hidden, out):
    """dE/db_B = sum_i (y - t) g'(r_out) w_B g'(r_B), for every B of the N_1 hidden neurons."""
    two = TwoLayers(hidden, out)
    by_hand = [two.total(lambda i, b=b: two.error(i) * two.v[b] * two.dg(two.r(i, b))) for b in range(4)]
    assert relative_error(two.gradient()[12:16], by_hand) < 1e-12
