"""`dbp.sklearn.MLPClassifier`."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from dbp.network.backprop import predicted_classes, predicted_labels
from dbp.network.losses import LossName, label_probabilities, probabilities
from dbp.network.network import Network
from dbp.optimizers.protocol import Vector
from dbp.workers.estimators.base import Multilayer, Targets, stochastic_only
from dbp.workers.estimators.rows import Table


class MLPClassifier(ClassifierMixin, Multilayer):  # type: ignore[misc]
    """A network for classes, trained on the log loss: scikit-learn's `MLPClassifier` with dbp's methods and workers.

    Parameters and attributes are those of scikit-learn's class, and `workers`: the number of Ray workers, 0 for this process, which
    computes with `threads`; the network has the same bits for any number. docs/from-scikit-learn.md lists each one and what is
    different.
    """

    _several: bool  # labels per row, each there or not, instead of one class
    _sparse_labels: bool

    @property
    def _loss(self) -> LossName:
        return "binary_cross_entropy" if self._several else "cross_entropy"

    def _validated(
        self, X: Any, y: Any, first: bool, one_epoch: bool, classes: Any
    ) -> tuple[NDArray[np.floating], Targets]:
        matrix, y = self._read(X, y, first, multi_output=True)
        several = y.ndim == 2 and y.shape[1] > 1
        if not first and several != self._several:
            now, then = ("several labels", "one class") if several else ("one class", "several labels")
            raise ValueError(
                f"y has {now} per row; expected {then}, as in the last fit: warm_start and partial_fit go on"
            )
        if several:
            return matrix, self._label_matrix(y, first, classes).astype(matrix.dtype)
        self._several, self._sparse_labels = False, False
        y = column_or_1d(y.toarray() if issparse(y) else y, warn=True)
        check_classification_targets(y)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
        elif self.warm_start and not one_epoch and set(np.unique(y)) != set(self.classes_):
            raise ValueError(
                f"warm_start: y has the classes {np.unique(y)}; expected those of the last fit, {self.classes_}"
            )
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"`y` has classes not in `self.classes_`: {unknown}; expected some of {self.classes_}")
        self.n_outputs_ = len(self.classes_) if len(self.classes_) > 2 else 1
        return matrix, np.searchsorted(self.classes_, y).astype(np.int32)

    def _label_matrix(self, y: Any, first: bool, classes: Any) -> NDArray[Any]:
        """Check several labels per row and return them as a matrix (rows, labels) of 0 and 1; set what tells of them."""
        sparse = issparse(y)
        y = np.ascontiguousarray(y.toarray() if sparse else y)
        kind = type_of_target(y)
        if kind != "multilabel-indicator" or not np.isin(y, (0, 1)).all():
            raise ValueError(
                f"y: {kind} targets of shape {y.shape}; expected one class per row, or a matrix (rows, labels) of 0 and 1: "
                "several columns of classes are not supported"
            )
        labels = np.arange(y.shape[1])
        if first:
            if classes is not None and not np.array_equal(np.unique(classes), labels):
                raise ValueError(f"classes={classes!r}; expected the columns of y, 0 to {len(labels) - 1}")
            self.classes_, self._several, self._sparse_labels = labels, True, sparse
        elif len(labels) != len(self.classes_):
            raise ValueError(f"y has {len(labels)} labels per row; expected {len(self.classes_)}, as in the last fit")
        self.n_outputs_ = len(labels)
        return np.asarray(y)

    def _output_activation(self) -> str:
        return "softmax" if len(self.classes_) > 2 and not self._several else "logistic"

    def _score_on(self, network: Network, theta: Vector, held: Table) -> float:
        outputs = network.forward(theta, held.inputs)
        if not np.isfinite(outputs).all():
            return float("nan")
        found = predicted_labels(outputs) if self._several else predicted_classes(outputs, logits=True)
        return float(accuracy_score(held.targets, found, sample_weight=held.weights))

    @stochastic_only  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch on these rows; return self. `classes` are all there will be, needed in the first call.

        Of several labels per row, they are the columns of y: 0, 1, ...
        """
        fitted = hasattr(self, "coefs_")
        if classes is None and not fitted:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None and fitted and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit: {self.classes_!r}")
        return self._fit(X, y, sample_weight, one_epoch=True, classes=classes)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the likeliest class (rows,) of each row of X (rows, features).

        Of several labels per row, 0 or 1 for each (rows, labels); sparse, if those it was fitted to were.
        """
        outputs = self._outputs(X)
        if self._several:
            labels = predicted_labels(outputs).astype(np.int64)
            return csr_matrix(labels) if self._sparse_labels else labels
        found = predicted_classes(outputs, logits=True)
        return np.asarray(self.classes_[np.minimum(found, len(self.classes_) - 1)])

    def predict_proba(self, X: Any) -> NDArray[np.floating]:
        """Return the probability (rows, classes) of each class, in the order of `classes_`.

        Of several labels per row, that of each (rows, labels).
        """
        outputs = self._outputs(X)
        if self._several:
            # Below 1, as the logistic function is everywhere, and as scikit-learn's checks want it.
            below_1 = np.nextafter(outputs.dtype.type(1), outputs.dtype.type(0))
            return np.minimum(label_probabilities(outputs).astype(outputs.dtype), below_1)
        if len(self.classes_) == 1:
            return np.ones_like(outputs)
        return probabilities(outputs).astype(outputs.dtype)

    def predict_log_proba(self, X: Any) -> NDArray[np.floating]:
        """Return the logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
