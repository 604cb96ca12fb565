"""`dbp.sklearn.MLPRegressor`."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d

from dbp.network.losses import LossName, rates
from dbp.network.network import Network
from dbp.optimizers.protocol import Vector
from dbp.workers.estimators.base import Multilayer, Targets, stochastic_only
from dbp.workers.estimators.rows import Table


class MLPRegressor(RegressorMixin, Multilayer):  # type: ignore[misc]
    """A network for numbers, trained on half the squared error or the Poisson deviance: scikit-learn's `MLPRegressor` with dbp's
    methods and workers.

    Parameters and attributes are those of scikit-learn's class, and `workers`: the number of Ray workers, 0 for this process, which
    computes with `threads`; the network has the same bits for any number. docs/from-scikit-learn.md lists each one and what is
    different.
    """

    def __init__(
        self,
        loss: str = "squared_error",
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
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            workers=workers,
            threads=threads,
        )
        self.loss = loss

    @property
    def _loss(self) -> LossName:
        return "poisson" if self.loss == "poisson" else "squared_error"

    def _validated(
        self, X: Any, y: Any, first: bool, one_epoch: bool, classes: Any
    ) -> tuple[NDArray[np.floating], Targets]:
        matrix, y = self._read(X, y, first, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        targets = np.ascontiguousarray(y.reshape(len(y), -1), dtype=matrix.dtype)
        if self.loss == "poisson" and (targets < 0).any():
            raise ValueError(
                f"y: {targets.min():g} is below 0; expected counts or rates of 0 or more with loss='poisson'"
            )
        self.n_outputs_ = targets.shape[1]
        return matrix, targets

    def _output_activation(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _values(self, outputs: Vector) -> Vector:
        """Return what raw outputs stand for."""
        return rates(outputs).astype(outputs.dtype) if self.loss == "poisson" else outputs

    def _score_on(self, network: Network, theta: Vector, held: Table) -> float:
        outputs = self._values(network.forward(theta, held.inputs))
        if not np.isfinite(outputs).all():
            return float("nan")
        return float(r2_score(held.targets, outputs, sample_weight=held.weights))

    @stochastic_only  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on these rows; return self."""
        return self._fit(X, y, sample_weight, one_epoch=True)

    def predict(self, X: Any) -> NDArray[np.floating]:
        """Return the outputs for rows X (rows, features): (rows,), or (rows, outputs) where there are several."""
        outputs = self._values(self._outputs(X))
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
