"""Estimators for scikit-learn: `from dbp.sklearn import MLPClassifier, MLPRegressor`.

They take the place of scikit-learn's own classes (docs/from-scikit-learn.md) and need it: ``pip install 'dbp[sklearn]'``. They
train, so they live above the library, in `dbp.workers.estimators`, and are looked up when first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbp.workers.estimators.classifier import MLPClassifier
    from dbp.workers.estimators.regressor import MLPRegressor

if find_spec("sklearn") is None:
    raise ImportError("dbp.sklearn needs scikit-learn, which is not installed; install it: pip install 'dbp[sklearn]'")

_HOMES = {
    "MLPClassifier": "dbp.workers.estimators.classifier",
    "MLPRegressor": "dbp.workers.estimators.regressor",
}

__all__ = ["MLPClassifier", "MLPRegressor"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'dbp.sklearn' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
