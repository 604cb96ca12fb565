"""What classifier and regressor share: parameters, training, and the attributes that scikit-learn's own estimators have."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from dbp.network.losses import LossName
from dbp.network.network import Network
from dbp.optimizers.levenberg_marquardt import MOST_PARAMETERS
from dbp.optimizers.protocol import State, Vector
from dbp.workers.estimators import full_batch, stochastic
from dbp.workers.estimators.checks import ACTIVATIONS, FULL_BATCH, STOCHASTIC, check_parameters, hidden_layers
from dbp.workers.estimators.network import network_of, put_together, start_vector, taken_apart
from dbp.workers.estimators.rows import Table
from dbp.workers.estimators.sums import Question, open_sums

Targets = NDArray[Any]  # floats (rows, outputs), or class indices (rows,) int32
Scorer = Any  # scikit-learn's accuracy_score or r2_score


def _is_stochastic(estimator: Multilayer) -> bool:
    if estimator.solver in STOCHASTIC:
        return True
    raise AttributeError(
        f"partial_fit needs solver='sgd' or 'adam'; solver={estimator.solver!r} looks at all rows at once"
    )


@dataclass(frozen=True)
class _Fit:
    """One call of fit: what it works on."""

    network: Network
    table: Table
    start: Vector  # (P,)
    random: np.random.RandomState
    first: bool  # whether training starts anew
    one_epoch: bool  # partial_fit


class Multilayer(BaseEstimator):  # type: ignore[misc]
    """A fully connected network. Use `MLPClassifier` or `MLPRegressor`."""

    n_outputs_: int
    t_: int  # rows seen by sgd or adam
    best_loss_: float | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    # What sgd and adam leave for a call that goes on.
    _memory: stochastic.Memory | None
    _method: stochastic.Method
    _state: State | None

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        workers: int = 0,
        threads: int = 1,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.workers = workers
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows X (rows, features) and targets y; return self. With `warm_start` go on from the last fit.

        `sample_weight` (rows,), 0 or more, multiplies each row's error (None: 1). ValueError for what does not fit.
        """
        return self._fit(X, y, sample_weight, one_epoch=False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, one_epoch: bool, classes: Any = None) -> Self:
        name = type(self).__name__
        check_parameters(name, self.get_params(deep=False))
        hidden = hidden_layers(name, self.hidden_layer_sizes)
        first = not hasattr(self, "coefs_") or not (self.warm_start or one_epoch)
        inputs, targets = self._validated(X, y, first, one_epoch, classes)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, inputs, dtype=inputs.dtype, ensure_non_negative=True)
            if not weights.any():
                raise ValueError("sample_weight: all weights are 0; expected at least one row that counts")
        random = check_random_state(self.random_state)
        activation = ACTIVATIONS[self.activation]
        network = network_of((inputs.shape[1], *hidden, self.n_outputs_), activation)
        start = start_vector(network, activation, random, inputs.dtype) if first else self._vector(network)
        fit = _Fit(network, Table(inputs, targets, weights), start, random, first, one_epoch)
        if self.solver in STOCHASTIC:
            self._fit_batches(fit)
        else:
            self._fit_all_rows(fit)
        return self

    def _read(self, X: Any, y: Any, first: bool, **options: Any) -> tuple[NDArray[np.floating], NDArray[Any]]:
        """Return X as a C-contiguous matrix of the network's precision, and y as it is."""
        dtype = (np.float64, np.float32) if first else self.coefs_[0].dtype
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=dtype, reset=first, **options)
        return _dense(X), y

    @property
    @abstractmethod
    def _loss(self) -> LossName:
        """The loss that is minimised."""

    @abstractmethod
    def _validated(
        self, X: Any, y: Any, first: bool, one_epoch: bool, classes: Any
    ) -> tuple[NDArray[np.floating], Targets]:
        """Check rows and targets, set `n_outputs_` and what tells of the targets; return matrix and targets for the kernel."""

    @abstractmethod
    def _score_on(self, network: Network, theta: Vector, held: Table) -> float:
        """Return accuracy or R^2 on rows held out."""

    @abstractmethod
    def _output_activation(self) -> str:
        """Return scikit-learn's name of the function at the output."""

    def _vector(self, network: Network) -> Vector:
        return put_together(network, self.coefs_, self.intercepts_, self.coefs_[0].dtype)

    def _outputs(self, X: Any) -> Vector:
        """Return the network's outputs (rows, outputs) for rows X, checked."""
        check_is_fitted(self)
        matrix = _dense(validate_data(self, X, accept_sparse="csr", dtype=self.coefs_[0].dtype, reset=False))
        sizes = (len(self.coefs_[0]), *(len(bias) for bias in self.intercepts_))
        network = network_of(sizes, ACTIVATIONS[self.activation])
        return network.forward(self._vector(network), matrix)

    def _question(self, network: Network, batch_rows: int | None = None) -> Question:
        curvature = self.solver == "levenberg_marquardt"
        hands = int(self.workers), int(self.threads)
        return Question(network, self._loss, float(self.alpha), batch_rows, *hands, curvature)

    def _fit_all_rows(self, fit: _Fit) -> None:
        if self.early_stopping:
            warnings.warn(f"early_stopping does nothing with solver={self.solver!r}: it has no epochs", stacklevel=4)
        self._check_curvature(fit.network)
        falls = self.solver != "rprop"
        limits = full_batch.Limits(int(self.max_iter), float(self.tol), int(self.max_fun), falls)
        with open_sums(fit.table, self._question(fit.network)) as sums, np.errstate(all="ignore"):
            optimizer = full_batch.method(self.solver)
            trained = full_batch.train(sums, optimizer, fit.start, limits, self._tell)
        if trained.limit is not None:
            limit = getattr(self, trained.limit)
            self._warn_of_limit(f"{self.solver} did not converge before {trained.limit} ({limit}) was reached")
        self._memory, self._state = None, None
        self._keep(fit.network, trained.parameters)
        self.n_iter_, self.loss_ = len(trained.losses), trained.losses[-1]
        self.loss_curve_, self.best_loss_ = trained.losses, min(trained.losses)
        self.t_ = 0 if fit.first else self.t_
        self.validation_scores_ = self.best_validation_score_ = None

    def _check_curvature(self, network: Network) -> None:
        if self.solver != "levenberg_marquardt":
            return
        if self._loss != "squared_error":
            raise ValueError(
                f"solver='levenberg_marquardt' needs the squared error, and the loss is {self._loss}; "
                f"expected one of: {', '.join((*STOCHASTIC, *FULL_BATCH[:-1]))}"
            )
        if network.parameter_count > MOST_PARAMETERS:
            raise ValueError(
                f"solver='levenberg_marquardt' sums a matrix of parameters x parameters: {network.parameter_count:,} of them; "
                f"expected at most {MOST_PARAMETERS:,}, or another solver, such as lbfgs"
            )

    def _fit_batches(self, fit: _Fit) -> None:
        if self.early_stopping and fit.one_epoch:
            raise ValueError("partial_fit does not support early_stopping=True: one epoch has nothing to stop")
        table, held = self._split(fit) if self.early_stopping else (fit.table, None)
        memory = self._remembered(fit)
        method, state = self._resumed(fit)
        batch_rows = self._batch_rows(table.rows)
        course = stochastic.Course(
            1 if fit.one_epoch else int(self.max_iter),
            batch_rows,
            bool(self.shuffle),
            float(self.tol),
            float(self.n_iter_no_change),
            fit.random,
            None if held is None else lambda theta: self._score_on(fit.network, theta, held),
            self._say,
        )
        with open_sums(table, self._question(fit.network, batch_rows)) as sums, np.errstate(all="ignore"):
            trained = stochastic.train(sums, method, fit.start, state, memory, course)
        if not (trained.converged or fit.one_epoch):
            self._warn_of_limit(f"{self.solver} did not converge within max_iter ({self.max_iter}) epochs")
        self._method, self._state, self._memory = method, trained.state, memory
        self._keep(fit.network, trained.parameters)
        self._show(memory, trained.epochs)

    def _remembered(self, fit: _Fit) -> stochastic.Memory:
        """Return what a call that goes on remembers of the last one."""
        memory = None if fit.first else self._memory
        if memory is None or memory.early_stopping != self.early_stopping:
            return stochastic.Memory(bool(self.early_stopping), fit.start)
        return memory

    def _resumed(self, fit: _Fit) -> tuple[stochastic.Method, State]:
        """Return the method and its state: those of the last call where `partial_fit` goes on with the same solver, or new ones."""
        if fit.one_epoch and not fit.first and self._state is not None and self._solver_used == self.solver:
            return self._method, self._state
        method = self._new_method()
        return method, method.optimizer({}).init(fit.start)

    def _show(self, memory: stochastic.Memory, epochs: int) -> None:
        stops = memory.early_stopping
        self.n_iter_, self.t_ = epochs, memory.seen
        self.loss_curve_, self.loss_ = memory.losses, memory.losses[-1] if memory.losses else math.nan
        self.best_loss_ = None if stops else memory.best_loss
        self.validation_scores_ = memory.scores if stops else None
        self.best_validation_score_ = memory.best_score if stops else None

    def _split(self, fit: _Fit) -> tuple[Table, Table]:
        """Hold rows out, as scikit-learn does: those of each class in their share, where one output says which."""
        table = fit.table
        stratify = table.targets if self._loss == "cross_entropy" and self.n_outputs_ == 1 else None
        kept, held = train_test_split(
            np.arange(table.rows), random_state=fit.random, test_size=self.validation_fraction, stratify=stratify
        )
        if len(held) < 2:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} holds out {len(held)} of {table.rows} rows; expected at least 2: "
                "raise it, or train on more rows"
            )
        return table.take(kept), table.take(held)

    def _batch_rows(self, rows: int) -> int:
        if self.batch_size in ("auto", "full"):
            return rows if self.batch_size == "full" else min(200, rows)
        if int(self.batch_size) > rows:
            warnings.warn(f"batch_size={self.batch_size} is more than the {rows} rows: all are taken", stacklevel=5)
        return min(int(self.batch_size), rows)

    def _new_method(self) -> stochastic.Method:
        if self.solver == "adam":
            return stochastic.AdamMethod(self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon)
        return stochastic.Sgd(
            self.learning_rate_init, self.learning_rate, self.momentum, self.nesterovs_momentum, self.power_t
        )

    def _keep(self, network: Network, theta: Vector) -> None:
        if not np.isfinite(theta).all():
            raise ValueError(
                "the weights became infinite or NaN: standardise the features, or take a smaller learning_rate_init"
            )
        self.coefs_, self.intercepts_ = taken_apart(network, theta)
        self.n_layers_ = len(network.sizes)
        self.out_activation_ = self._output_activation()
        self._solver_used = self.solver

    def _say(self, text: str) -> None:
        if self.verbose:
            print(text)

    def _tell(self, iteration: int, loss: float) -> None:
        self._say(f"Iteration {iteration}, loss = {loss:.8f}")

    def _warn_of_limit(self, text: str) -> None:
        warnings.warn(f"{text}. Raise it, or standardise the features", ConvergenceWarning, stacklevel=5)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _dense(X: Any) -> NDArray[np.floating]:
    """Return a matrix, C-contiguous; a sparse one is written out."""
    return np.ascontiguousarray(X.toarray() if hasattr(X, "toarray") else X)


stochastic_only = available_if(_is_stochastic)
