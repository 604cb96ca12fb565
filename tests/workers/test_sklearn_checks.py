"""scikit-learn's own checks of an estimator: all pass, none is expected to fail."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from dbp.sklearn import MLPClassifier, MLPRegressor


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [
        MLPClassifier(),
        MLPRegressor(),
        MLPClassifier((5,), solver="lbfgs", max_iter=100),
        MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs", max_iter=100),
    ]
)
def test_every_check_of_scikit_learn_passes(estimator, check):
    with threadpool_limits(1):  # BLAS threads wait for each other where a machine is busy
        check(estimator)
