"""How much rows count: by a column, by their class, or both."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from dbp.data.weights import class_weights, row_weights

F8 = np.dtype(np.float64)


@pytest.mark.parametrize("counts", [{"a": 3, "b": 10, "c": 87}, {False: 5, True: 1}, {0: 1, 7: 1}])
def test_balanced_is_scikit_learns_formula(counts):
    labels = np.repeat(list(counts), list(counts.values()))
    expected = compute_class_weight("balanced", classes=np.array(list(counts)), y=labels)
    np.testing.assert_allclose(class_weights("balanced", counts, list(counts)), expected, rtol=1e-15)


def test_a_map_names_classes_as_a_job_file_spells_them():
    assert class_weights({"true": 5.0}, {False: 9, True: 1}, (False, True)) == (1.0, 5.0)
    assert class_weights({"7": 2.5, "0": 0.5}, {0: 9, 7: 1}, (0, 7)) == (0.5, 2.5)
    assert class_weights(None, {0: 9, 7: 1}, (0, 7)) == ()


def test_a_class_that_is_not_there_is_refused_by_name():
    with pytest.raises(ValueError, match="'c' is no class of the target; expected some of: a, b"):
        class_weights({"c": 2.0}, {"a": 1, "b": 1}, ("a", "b"))


def test_column_and_class_are_multiplied():
    classes = np.array([1, 0, 1], dtype=np.int32)
    assert row_weights(None, (), classes, F8) is None
    assert row_weights(np.array([2.0, 3.0, 0.0]), (), classes, F8).tolist() == [2, 3, 0]
    assert row_weights(None, (1.0, 5.0), classes, F8).tolist() == [5, 1, 5]
    assert row_weights(np.array([2.0, 3.0, 0.0]), (1.0, 5.0), classes, F8).tolist() == [10, 3, 0]
