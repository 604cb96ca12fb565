"""Loss and gradient against torch's automatic differentiation, for every activation with every loss."""

from __future__ import annotations

import math

import pytest
from derivation.comparing import relative_error
from hypothesis import given, settings
from strategies import LOSSES, TRAINABLE, problems

import dbp


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("g", TRAINABLE)
def test_the_gradient_agrees_with_torch(g, loss):
    """At least 200 drawn networks and batches each, float64; one output (logistic) and several (softmax) among them."""
    from references.autodiff import loss_and_gradient

    seen = set()

    @settings(max_examples=200 if settings().max_examples < 200 else settings().max_examples)
    @given(problems(g, loss))
    def agree(case):
        seen.update({len(case.network.activations), "one output" if case.network.sizes[-1] == 1 else "several"})
        found = dbp.gradient_sum(case.network, case.theta, case.inputs, case.targets, loss)
        value, gradient = loss_and_gradient(
            case.network.sizes, case.network.activations, case.theta, case.inputs, case.targets, loss
        )
        assert math.isclose(found.loss, value, rel_tol=1e-12, abs_tol=1e-14)
        assert relative_error(found.gradient, gradient) < 1e-12

    agree()
    assert seen == {1, 2, 3, 4, "one output", "several"}
