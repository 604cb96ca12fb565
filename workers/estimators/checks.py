"""Which values an estimator's parameters may have. Looked at in `fit`, never before, as scikit-learn wants it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import SupportsInt, cast

import numpy as np

from dbp.network.activations import ActivationName

ACTIVATIONS: dict[str, ActivationName] = {
    "identity": "identity",
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
}
STOCHASTIC = ("sgd", "adam")
FULL_BATCH = ("lbfgs", "rprop", "conjugate_gradient", "scaled_conjugate_gradient", "levenberg_marquardt")


@dataclass(frozen=True)
class _Rule:
    fits: Callable[[object], bool]
    expected: str


def _one_of(*names: str) -> _Rule:
    return _Rule(lambda value: isinstance(value, str) and value in names, "one of: " + ", ".join(names))


def _real(fits: Callable[[float], bool], expected: str) -> _Rule:
    def check(value: object) -> bool:
        return _is(value, Real) and math.isfinite(value) and fits(float(value))  # type: ignore[arg-type]

    return _Rule(check, expected)


def _whole(least: int) -> _Rule:
    return _Rule(lambda value: _is_whole(value, least), f"a whole number of {least} or more")


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_)


def _is_whole(value: object, least: int) -> bool:
    return _is(value, Integral) and int(cast(SupportsInt, value)) >= least


def _named_or_whole(*names: str) -> _Rule:
    texts = ", ".join(repr(name) for name in names)
    return _Rule(
        lambda value: _is_whole(value, 1) or (isinstance(value, str) and value in names),
        f"{texts}, or a whole number of 1 or more",
    )


_NOT_NEGATIVE = _real(lambda value: value >= 0, "a number of 0 or more")
_POSITIVE = _real(lambda value: value > 0, "a number greater than 0")
_SHARE = _real(lambda value: 0 <= value < 1, "a number from 0 to below 1")
_SWITCH = _Rule(lambda value: isinstance(value, bool | np.bool_), "True or False")

_RULES: dict[str, _Rule] = {
    "activation": _one_of(*ACTIVATIONS),
    "solver": _one_of(*STOCHASTIC, *FULL_BATCH),
    "alpha": _NOT_NEGATIVE,
    "batch_size": _named_or_whole("auto", "full"),
    "learning_rate": _one_of("constant", "invscaling", "adaptive"),
    "learning_rate_init": _POSITIVE,
    "power_t": _NOT_NEGATIVE,
    "max_iter": _whole(1),
    "shuffle": _SWITCH,
    "tol": _NOT_NEGATIVE,
    "verbose": _Rule(
        lambda value: isinstance(value, bool | np.bool_) or _is_whole(value, 0), "True, False or 0, 1, ..."
    ),
    "warm_start": _SWITCH,
    "momentum": _real(lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    "nesterovs_momentum": _SWITCH,
    "early_stopping": _SWITCH,
    "validation_fraction": _SHARE,
    "beta_1": _SHARE,
    "beta_2": _SHARE,
    "epsilon": _POSITIVE,
    "n_iter_no_change": _Rule(
        lambda value: _is_whole(value, 1) or (_is(value, Real) and value == math.inf),
        "a whole number of 1 or more, or infinity",
    ),
    "max_fun": _whole(1),
    "workers": _whole(0),
    "threads": _whole(1),
    "loss": _one_of("squared_error", "poisson"),
}


def check_parameters(estimator: str, values: Mapping[str, object]) -> None:
    """Raise ValueError for the first parameter whose value is none it may have; `estimator` is the class's name."""
    for name, rule in _RULES.items():
        if name in values and not rule.fits(values[name]):
            raise ValueError(f"{estimator}: {name} is {values[name]!r}; expected {rule.expected}")
    if values.get("workers") and values.get("threads", 1) != 1:
        raise ValueError(
            f"{estimator}: workers is {values['workers']!r} and threads {values['threads']!r}; expected one of them: a worker "
            "has one thread"
        )


def hidden_layers(estimator: str, sizes: object) -> tuple[int, ...]:
    """Return the units of each hidden layer, first to last. ValueError where they are none."""
    listed = list(sizes) if isinstance(sizes, Iterable) and not isinstance(sizes, str) else [sizes]
    if not all(_is_whole(size, 1) for size in listed):
        raise ValueError(
            f"{estimator}: hidden_layer_sizes is {sizes!r}; hidden_layer_sizes must be > 0: "
            "expected a whole number of 1 or more, or a sequence of them"
        )
    return tuple(int(cast(SupportsInt, size)) for size in listed)
