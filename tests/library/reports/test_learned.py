"""What is said of odd results."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dbp.reports.facts import Residuals, Snapshot
from dbp.reports.learned import _residuals, _verdict


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((1.0, 1e-4, 1.0), "it vanishes on its way"),
        ((1.0, 2e4, 1.0), "it explodes on its way"),
        ((1.0, 0.5, 1.0), "is 0.5 times that at the outputs."),
        ((0.0, 0.0, 0.0), "there is no error at the outputs"),
        ((1.0, np.inf, 1.0), "no finite number in some layer"),
    ],
)
def test_how_the_signal_travels_is_said(sizes: tuple[float, ...], said: str) -> None:
    """At the first hidden layer, against the outputs."""
    assert said in _verdict(Snapshot(3, "step 3", tuple(np.array([size, size]) for size in sizes)))


def test_predictions_that_are_not_finite_are_counted() -> None:
    """They are not drawn; the numbers are of the others."""
    known = np.array([1.0, 2.0, 3.0])
    shown = _residuals(Residuals("y", known, np.array([2.0, np.inf, np.nan])))
    assert shown.count("<circle") == 1
    assert "RMS error 1," in shown
    assert "2 predictions are no finite numbers" in shown
    none = _residuals(Residuals("y", known, np.full(3, np.nan)))
    assert re.sub("<[^>]*>", "", none) == "y: no prediction is a finite number."
