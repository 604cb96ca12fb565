"""`dbp.sklearn` beside scikit-learn's own estimators, which are the reference."""

from __future__ import annotations

import inspect
import pickle
import warnings

import joblib
import numpy as np
import pytest
import sklearn.neural_network as theirs
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from threadpoolctl import threadpool_limits

import dbp.sklearn as ours
from dbp.workers.estimators import stochastic

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def _one_thread():
    """scikit-learn's BLAS threads wait for each other where a machine is busy."""
    with threadpool_limits(1):
        yield


IRIS_X, IRIS_Y = load_iris(return_X_y=True)
IRIS_X = scale(IRIS_X)
BINARY_Y = np.where(IRIS_Y == 1, "versicolor", "other")
LABELS_Y = np.column_stack([IRIS_Y == 1, IRIS_X[:, 1] > 0, IRIS_X[:, 0] + IRIS_X[:, 2] > 1]).astype(int)
COUNTS_Y = np.random.default_rng(0).poisson(np.exp(0.2 * IRIS_X[:, 0])).astype(float)
DIABETES_X, DIABETES_Y = (scale(part) for part in load_diabetes(return_X_y=True))

PROBLEMS = {
    "several classes": ("MLPClassifier", IRIS_X, IRIS_Y),
    "two classes": ("MLPClassifier", IRIS_X, BINARY_Y),
    "several labels": ("MLPClassifier", IRIS_X, LABELS_Y),
    "counts": ("MLPRegressor", IRIS_X, COUNTS_Y),
    "one number": ("MLPRegressor", DIABETES_X, DIABETES_Y),
}


def weights_for(rows: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, rows).astype(float)


def both(problem: str, weighted: bool = False, **parameters):
    """scikit-learn's estimator and dbp's, fitted alike."""
    name, X, y = PROBLEMS[problem]
    weights = weights_for(len(X)) if weighted else None
    parameters |= {"loss": "poisson"} if problem == "counts" else {}
    made = [getattr(module, name)(random_state=3, **parameters) for module in (theirs, ours)]
    return [estimator.fit(X, y, sample_weight=weights) for estimator in made]


def furthest(left, right) -> float:
    pairs = zip((*left.coefs_, *left.intercepts_), (*right.coefs_, *right.intercepts_), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(
    "parameters",
    [
        {"alpha": 0.3},
        {"activation": "logistic", "batch_size": 32, "epsilon": 1e-3, "beta_2": 0.9},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1, "hidden_layer_sizes": (7, 5)},
        {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.2, "tol": 1e-2, "n_iter_no_change": 2},
        {"solver": "sgd", "momentum": 0.0, "shuffle": False, "batch_size": 40, "activation": "identity"},
        {"solver": "sgd", "nesterovs_momentum": False, "activation": "tanh", "hidden_layer_sizes": 6},
        {"early_stopping": True, "validation_fraction": 0.2, "activation": "tanh"},
        {"hidden_layer_sizes": (), "activation": "logistic", "alpha": 1.0},
    ],
    ids=lambda parameters: "-".join(map(str, parameters)),
)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_sgd_and_adam_make_the_network_that_scikit_learn_makes_from_the_same_seed(problem, parameters, weighted):
    """Same start, same batches, same steps: apart from the order of additions. 30 epochs keep rounding from growing."""
    reference, found = both(problem, weighted, max_iter=30, **parameters)
    assert furthest(reference, found) < 1e-8
    assert found.n_iter_ == reference.n_iter_
    assert found.t_ == reference.t_
    assert found.out_activation_ == reference.out_activation_
    np.testing.assert_allclose(found.loss_curve_, reference.loss_curve_, rtol=1e-8)
    if parameters.get("early_stopping"):
        np.testing.assert_allclose(found.validation_scores_, reference.validation_scores_, rtol=1e-8)
        assert found.best_validation_score_ == pytest.approx(reference.best_validation_score_)
    else:
        assert found.best_loss_ == pytest.approx(reference.best_loss_)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_at_the_same_parameters_the_loss_is_scikit_learns(problem, weighted):
    """One epoch of one batch reports the loss at the start: its penalty, alpha/2 |w|^2 over the rows, included."""
    parameters = {"alpha": 2.5, "max_iter": 1, "batch_size": len(PROBLEMS[problem][1]), "hidden_layer_sizes": (8, 3)}
    reference, found = both(problem, weighted, **parameters)
    assert found.loss_ == pytest.approx(reference.loss_, rel=1e-12)
    _, X, y = PROBLEMS[problem]
    for estimator in (reference, found):  # and at parameters of one's own
        estimator.set_params(warm_start=True)
        estimator.coefs_ = [np.sin(np.arange(w.size)).reshape(w.shape) for w in estimator.coefs_]
        estimator.intercepts_ = [np.cos(np.arange(b.size)) for b in estimator.intercepts_]
        estimator.fit(X, y, sample_weight=weights_for(len(X)) if weighted else None)
    assert found.loss_ == pytest.approx(reference.loss_, rel=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_lbfgs_reaches_scikit_learns_own_loss_within_one_per_cent(problem):
    reference, found = both(problem, solver="lbfgs", alpha=0.1, hidden_layer_sizes=(10,), max_iter=2000)
    assert found.loss_ <= reference.loss_ * 1.01
    assert found.loss_curve_[-1] == found.loss_
    assert len(found.loss_curve_) == found.n_iter_


@pytest.mark.parametrize("solver", ["rprop", "conjugate_gradient", "scaled_conjugate_gradient", "levenberg_marquardt"])
def test_the_solvers_that_only_dbp_has_reach_it_too(solver):
    reference = theirs.MLPRegressor("squared_error", (5,), solver="lbfgs", alpha=1.0, random_state=3, max_iter=2000)
    found = ours.MLPRegressor("squared_error", (5,), solver=solver, alpha=1.0, random_state=3, max_iter=2000)
    reference.fit(DIABETES_X, DIABETES_Y)
    found.fit(DIABETES_X, DIABETES_Y)
    assert found.loss_ <= reference.loss_ * 1.03


@pytest.mark.parametrize("problem", PROBLEMS)
def test_predictions_are_scikit_learns(problem):
    reference, found = both(problem, max_iter=20)
    X, y = PROBLEMS[problem][1:]
    if problem in ("one number", "counts"):
        np.testing.assert_allclose(found.predict(X), reference.predict(X), rtol=1e-9)
    else:
        np.testing.assert_array_equal(found.predict(X), reference.predict(X))
        np.testing.assert_allclose(found.predict_proba(X), reference.predict_proba(X), rtol=1e-9)
        np.testing.assert_allclose(found.predict_log_proba(X), reference.predict_log_proba(X), rtol=1e-9)
        np.testing.assert_array_equal(found.classes_, reference.classes_)
    assert found.score(X, y) == pytest.approx(reference.score(X, y))


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_every_parameter_of_scikit_learns_class_is_there_with_its_default(name):
    reference, found = (inspect.signature(getattr(module, name)).parameters for module in (theirs, ours))
    assert list(found) == [*reference, "workers", "threads"]
    for parameter, known in reference.items():
        assert found[parameter].default == known.default, parameter
        assert found[parameter].kind == known.kind, parameter


OTHER = {
    "loss": "squared_error",
    "hidden_layer_sizes": [4, 3],
    "activation": "tanh",
    "solver": "sgd",
    "alpha": 0.01,
    "batch_size": 50,
    "learning_rate": "adaptive",
    "learning_rate_init": 0.05,
    "power_t": 0.4,
    "max_iter": 5,
    "shuffle": False,
    "random_state": 7,
    "tol": 1e-3,
    "verbose": True,
    "warm_start": True,
    "momentum": 0.8,
    "nesterovs_momentum": False,
    "early_stopping": True,
    "validation_fraction": 0.3,
    "beta_1": 0.8,
    "beta_2": 0.99,
    "epsilon": 1e-7,
    "n_iter_no_change": 3,
    "max_fun": 100,
}


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_both_classes_take_the_same_keyword_arguments(name, capsys):
    """All at once, each with a value that is not its default, and the two networks are the same."""
    shared = {key: value for key, value in OTHER.items() if key in inspect.signature(getattr(theirs, name)).parameters}
    assert shared.keys() == inspect.signature(getattr(theirs, name)).parameters.keys()
    X, y = (IRIS_X, BINARY_Y) if name == "MLPClassifier" else (DIABETES_X, DIABETES_Y)
    reference, found = (getattr(module, name)(**shared).fit(X, y) for module in (theirs, ours))
    assert found.get_params() == {**reference.get_params(), "workers": 0, "threads": 1}
    assert furthest(reference, found) < 1e-8
    public = {key for key in vars(reference) if key.endswith("_") and not key.startswith("_")}
    assert public <= vars(found).keys()
    assert "Iteration 5, loss = " in capsys.readouterr().out


def test_one_class_alone():
    estimator = ours.MLPClassifier((4,), max_iter=3).fit(IRIS_X, np.full(150, "only"))
    assert set(estimator.predict(-IRIS_X)) == {"only"}
    np.testing.assert_array_equal(estimator.predict_proba(IRIS_X), np.ones((150, 1)))


def test_random_states_and_float32():
    state = np.random.RandomState(5)
    estimator = ours.MLPClassifier((4,), random_state=state, max_iter=3).fit(IRIS_X.astype(np.float32), IRIS_Y)
    assert {array.dtype for array in (*estimator.coefs_, *estimator.intercepts_)} == {np.dtype("float32")}
    assert estimator.predict_proba(IRIS_X).dtype == np.float32
    assert ours.MLPClassifier((4,), max_iter=3).fit(IRIS_X, IRIS_Y).coefs_[0].dtype == np.float64


def test_warm_start_goes_on_as_scikit_learns_does():
    made = [module.MLPClassifier((6,), random_state=0, warm_start=True, max_iter=4) for module in (theirs, ours)]
    for estimator in made:
        for _ in range(3):
            estimator.fit(IRIS_X, IRIS_Y)
    assert furthest(*made) < 1e-9
    assert made[1].loss_curve_ == pytest.approx(made[0].loss_curve_)
    assert len(made[1].loss_curve_) == 12
    with pytest.raises(ValueError, match="warm_start: y has the classes"):
        made[1].fit(IRIS_X, np.minimum(IRIS_Y, 1))
    with pytest.raises(ValueError, match="expected"):
        made[1].set_params(hidden_layer_sizes=(7,)).fit(IRIS_X, IRIS_Y)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_goes_on_as_scikit_learns_does(solver):
    made = [module.MLPClassifier((6,), random_state=0, solver=solver) for module in (theirs, ours)]
    for estimator in made:
        for start in (0, 50, 100, 0):  # one class at a time
            estimator.partial_fit(IRIS_X[start : start + 50], IRIS_Y[start : start + 50], classes=[0, 1, 2])
    assert furthest(*made) < 1e-9
    assert made[1].t_ == made[0].t_ == 200
    numbers = [module.MLPRegressor(random_state=0, solver=solver) for module in (theirs, ours)]
    for estimator in numbers:
        for part in range(4):
            estimator.partial_fit(DIABETES_X[part::4], DIABETES_Y[part::4])
    assert furthest(*numbers) < 1e-9


def test_partial_fit_says_what_it_cannot_do():
    assert not hasattr(ours.MLPClassifier(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        ours.MLPClassifier().partial_fit(IRIS_X, IRIS_Y)
    failed = ours.MLPClassifier()
    with pytest.raises(ValueError, match="classes not in"):
        failed.partial_fit(IRIS_X, IRIS_Y, classes=[0, 1])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):  # that one was none
        failed.partial_fit(IRIS_X, IRIS_Y)
    failed.partial_fit(IRIS_X, IRIS_Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="is not the same as on last call"):
        failed.partial_fit(IRIS_X, IRIS_Y, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match="early_stopping"):
        ours.MLPRegressor(early_stopping=True).partial_fit(DIABETES_X, DIABETES_Y)


def test_several_outputs_and_sparse_rows():
    several = np.column_stack([DIABETES_Y, DIABETES_Y**2])
    reference, found = (module.MLPRegressor(random_state=2, max_iter=20) for module in (theirs, ours))
    assert furthest(reference.fit(DIABETES_X, several), found.fit(DIABETES_X, several)) < 1e-9
    assert found.predict(DIABETES_X).shape == several.shape
    rows = sparse.csr_matrix(np.where(IRIS_X > 0, IRIS_X, 0))
    dense = ours.MLPClassifier(random_state=2, max_iter=5).fit(rows.toarray(), IRIS_Y)
    thin = ours.MLPClassifier(random_state=2, max_iter=5).fit(rows, IRIS_Y)
    assert furthest(dense, thin) == 0
    np.testing.assert_array_equal(dense.predict(rows), thin.predict(rows))


def test_labels_are_those_of_scikit_learn_to_5e_15():
    """Few steps: what differs is the order of additions. Sparse labels are predicted as sparse ones."""
    for solver in ("sgd", "adam"):
        made = (module.MLPClassifier((6,), solver=solver, random_state=2, max_iter=9) for module in (theirs, ours))
        reference, found = (estimator.fit(IRIS_X, LABELS_Y) for estimator in made)
        assert furthest(reference, found) < 5e-15
        assert found.predict(IRIS_X).dtype == reference.predict(IRIS_X).dtype
    thin = [module.MLPClassifier((6,), max_iter=9, random_state=2) for module in (theirs, ours)]
    for estimator in thin:
        estimator.fit(IRIS_X, sparse.csr_matrix(LABELS_Y))
    left, right = (estimator.predict(IRIS_X) for estimator in thin)
    assert type(left) is type(right)
    np.testing.assert_array_equal(left.toarray(), right.toarray())


def test_labels_are_learnt_part_by_part_and_gone_on_with():
    made = [module.MLPClassifier((6,), random_state=2) for module in (theirs, ours)]
    for estimator in made:
        for part in range(3):
            estimator.partial_fit(IRIS_X[part::3], LABELS_Y[part::3], classes=[0, 1, 2])
    assert furthest(*made) < 5e-15
    found = ours.MLPClassifier((6,), random_state=2, max_iter=2, warm_start=True).fit(IRIS_X, LABELS_Y)
    with pytest.raises(ValueError, match="y has one class per row; expected several labels"):
        found.fit(IRIS_X, IRIS_Y)
    with pytest.raises(ValueError, match="y has 2 labels per row; expected 3"):
        found.fit(IRIS_X, LABELS_Y[:, :2])
    with pytest.raises(ValueError, match=r"classes=\[0, 1\]; expected the columns of y, 0 to 2"):
        ours.MLPClassifier().partial_fit(IRIS_X, LABELS_Y, classes=[0, 1])
    with pytest.raises(ValueError, match="y has several labels per row; expected one class"):
        ours.MLPClassifier((6,), max_iter=2, warm_start=True).fit(IRIS_X, IRIS_Y).fit(IRIS_X, LABELS_Y)


def test_pipeline_search_cross_validation_and_clone():
    pipeline = make_pipeline(StandardScaler(), ours.MLPClassifier((5,), solver="lbfgs", random_state=0))
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [0.01, 10.0]}, cv=3).fit(IRIS_X, BINARY_Y)
    assert search.best_params_ == {"mlpclassifier__alpha": 0.01}
    assert search.score(IRIS_X, BINARY_Y) > 0.9
    scores = cross_val_score(ours.MLPRegressor("squared_error", (3,), solver="lbfgs", alpha=10), DIABETES_X, DIABETES_Y)
    assert scores.mean() > 0.3
    fitted = pipeline.fit(IRIS_X, IRIS_Y)[-1]
    again = clone(fitted)
    assert again.get_params() == fitted.get_params()
    assert not hasattr(again, "coefs_")


@pytest.mark.parametrize("way", ["pickle", "joblib"])
def test_a_stored_estimator_predicts_the_same_and_goes_on_training(way, tmp_path):
    estimator = ours.MLPClassifier(random_state=0)
    estimator.partial_fit(IRIS_X, IRIS_Y, classes=[0, 1, 2])
    if way == "pickle":
        read = pickle.loads(pickle.dumps(estimator))
    else:
        joblib.dump(estimator, tmp_path / "estimator.joblib")
        read = joblib.load(tmp_path / "estimator.joblib")
    np.testing.assert_array_equal(read.predict_proba(IRIS_X), estimator.predict_proba(IRIS_X))
    assert furthest(read.partial_fit(IRIS_X, IRIS_Y), estimator.partial_fit(IRIS_X, IRIS_Y)) == 0


REFUSED = [
    ({"loss": "gamma"}, "loss is 'gamma'; expected one of: squared_error, poisson"),
    ({"loss": "poisson"}, "is below 0; expected counts or rates of 0 or more"),
    ({"solver": "newton"}, "solver is 'newton'; expected one of: sgd, adam, lbfgs"),
    ({"activation": "gelu"}, "activation is 'gelu'"),
    ({"alpha": -1}, "alpha is -1; expected a number of 0 or more"),
    ({"max_iter": 0}, "max_iter is 0; expected a whole number of 1 or more"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"momentum": 1.5}, "momentum is 1.5; expected a number from 0 to 1"),
    ({"beta_1": 1.0}, "beta_1 is 1.0; expected a number from 0 to below 1"),
    ({"tol": float("nan")}, "tol is nan"),
    ({"shuffle": "yes"}, "shuffle is 'yes'; expected True or False"),
    ({"workers": -1}, "workers is -1"),
    ({"workers": True}, "workers is True"),
    ({"threads": 0}, "threads is 0; expected a whole number of 1 or more"),
    ({"threads": 2, "workers": 3}, "workers is 3 and threads 2; expected one of them"),
    ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes must be > 0"),
    ({"solver": "levenberg_marquardt", "hidden_layer_sizes": (500,)}, "expected at most 4,096"),
    ({"solver": "levenberg_marquardt", "max_iter": 1.5}, "max_iter is 1.5"),
]


@pytest.mark.parametrize(("parameters", "message"), REFUSED, ids=lambda each: str(each)[:40])
def test_parameters_that_do_not_fit_are_refused_in_fit(parameters, message):
    estimator = ours.MLPRegressor(**parameters)
    with pytest.raises(ValueError, match=message):
        estimator.fit(DIABETES_X, DIABETES_Y)


def test_data_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="several columns of classes are not supported"):
        ours.MLPClassifier().fit(IRIS_X, np.column_stack([IRIS_Y, IRIS_Y]))
    with pytest.raises(ValueError, match=r"a matrix .rows, labels. of 0 and 1"):
        ours.MLPClassifier().fit(IRIS_X, LABELS_Y + 1)
    with pytest.raises(ValueError, match="levenberg_marquardt' needs the squared error"):
        ours.MLPClassifier(solver="levenberg_marquardt").fit(IRIS_X, IRIS_Y)
    with pytest.raises(ValueError, match=r"all weights are 0|at least one non-zero"):
        ours.MLPClassifier().fit(IRIS_X, IRIS_Y, sample_weight=np.zeros(150))
    with pytest.raises(ValueError, match="Negative values"):
        ours.MLPClassifier().fit(IRIS_X, IRIS_Y, sample_weight=-np.ones(150))
    with pytest.raises(ValueError, match=r"the loss became .*Standardise"):
        ours.MLPRegressor(solver="sgd", learning_rate_init=10.0).fit(1e6 * DIABETES_X, 1e6 * DIABETES_Y)
    with pytest.raises(ValueError, match="holds out 1 of 4 rows"):
        ours.MLPRegressor(early_stopping=True).fit(DIABETES_X[:4], DIABETES_Y[:4])


def test_limits_are_warned_of():
    with pytest.warns(ConvergenceWarning, match=r"adam did not converge within max_iter \(2\) epochs"):
        ours.MLPClassifier(max_iter=2).fit(IRIS_X, IRIS_Y)
    with pytest.warns(ConvergenceWarning, match=r"lbfgs did not converge before max_iter \(2\)"):
        ours.MLPClassifier(max_iter=2, solver="lbfgs").fit(IRIS_X, IRIS_Y)
    with pytest.warns(ConvergenceWarning, match=r"before max_fun \(3\)"):
        ours.MLPClassifier(max_fun=3, solver="lbfgs").fit(IRIS_X, IRIS_Y)
    with pytest.warns(UserWarning, match="early_stopping does nothing with solver='lbfgs'"):
        ours.MLPClassifier(solver="lbfgs", early_stopping=True).fit(IRIS_X, IRIS_Y)
    with pytest.warns(UserWarning, match="batch_size=151 is more than the 150 rows"):
        ours.MLPClassifier(max_iter=1, batch_size=151).fit(IRIS_X, IRIS_Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.MLPClassifier((3,), solver="lbfgs", alpha=1.0, max_iter=2000).fit(IRIS_X, IRIS_Y)


@pytest.mark.parametrize("epochs", [0, 2])
def test_an_interrupt_keeps_the_epochs_that_were_done(monkeypatch, epochs):
    shuffle, calls = stochastic.shuffle, []

    def interrupted(order, random_state):
        calls.append(order)
        if len(calls) > epochs:
            raise KeyboardInterrupt
        return shuffle(order, random_state=random_state)

    whole = ours.MLPClassifier((4,), random_state=0, max_iter=max(epochs, 1)).fit(IRIS_X, IRIS_Y)
    monkeypatch.setattr(stochastic, "shuffle", interrupted)
    estimator = ours.MLPClassifier((4,), random_state=0)
    with pytest.warns(UserWarning, match=f"interrupted in epoch {epochs + 1}"):
        estimator.fit(IRIS_X, IRIS_Y)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == epochs
    assert (furthest(estimator, whole) == 0) == (epochs > 0)


def made_up(rows: int):
    draw = np.random.default_rng(4)
    X = draw.standard_normal((rows, 12))
    return X, (X[:, 0] * X[:, 1] > X[:, 2]).astype(int), draw.uniform(0.5, 2.0, rows)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    "parameters",
    [{"solver": "lbfgs", "max_iter": 20}, {"batch_size": 1500, "max_iter": 3}],
    ids=["all rows", "batches"],
)
def test_workers_make_the_same_bits(parameters):
    """Real Ray actors; the rows are enough for several shards, so that both workers have some."""
    X, y, weights = made_up(3000)
    here, *others = (
        ours.MLPClassifier((16,), random_state=1, **hands, **parameters).fit(X, y, sample_weight=weights)
        for hands in ({}, {"workers": 2}, {"threads": 3})
    )
    for there in others:
        assert [w.tobytes() for w in (*here.coefs_, *here.intercepts_)] == [
            w.tobytes() for w in (*there.coefs_, *there.intercepts_)
        ]
        assert here.loss_curve_ == there.loss_curve_


@pytest.mark.usefixtures("local_ray")
def test_workers_sum_curvatures_to_the_same_bits():
    X, y, _ = made_up(1500)
    here, *others = (
        ours.MLPRegressor("squared_error", (4,), solver="levenberg_marquardt", random_state=1, max_iter=5, **hands)
        for hands in ({}, {"workers": 2}, {"threads": 3})
    )
    here.fit(X, y)
    for there in others:
        there.fit(X, y)
        assert [w.tobytes() for w in here.coefs_] == [w.tobytes() for w in there.coefs_]
