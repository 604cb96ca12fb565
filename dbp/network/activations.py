"""Activation functions g and their derivatives (row F3 of the derivation); computed in native/functions.h.

    identity     g(r) = r
    threshold    g(r) = 1 where r >= 0, else 0: a linear classifier. Forward use only: its derivative is zero
    sigmoid      g(r) = 1 / (1 + exp -r), the logistic function        g' = g (1 - g)
    tanh         g(r) = tanh r                                         g' = 1 - g^2
    relu         g(r) = max(r, 0)                                      g' = 1 where g > 0, else 0
    softplus     g(r) = log(1 + exp r)                                 g' = 1 - exp(-g)
    leaky_relu   g(r) = r where r > 0, else LEAKY_SLOPE r              g' = 1 where g > 0, else LEAKY_SLOPE

Derivatives are computed from the *output* g(r), the only thing the forward pass keeps.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dbp.network import compiled

Block = NDArray[np.floating]

ActivationName = Literal["identity", "threshold", "sigmoid", "tanh", "relu", "softplus", "leaky_relu"]
ACTIVATION_NAMES: tuple[ActivationName, ...] = get_args(ActivationName)

LEAKY_SLOPE = 0.01  # Maas, Hannun & Ng 2013


def activation_code(name: ActivationName) -> int:
    """Return the number by which the compiled kernel knows an activation; ValueError lists the names there are."""
    try:
        return ACTIVATION_NAMES.index(name)
    except ValueError:
        raise ValueError(f"{name!r} is not an activation; expected one of: {', '.join(ACTIVATION_NAMES)}") from None


def activate(name: ActivationName, net: Block) -> None:
    """Replace net inputs r (contiguous, float32 or float64) by g(r), in place."""
    call = compiled.functions(net.dtype.name)
    call.activate(activation_code(name), net.size, compiled.address(net))


def multiply_derivative(name: ActivationName, output: Block, delta: Block) -> None:
    """Multiply `delta` by g'(r) in place, given output = g(r); both contiguous and of one dtype. ValueError for threshold."""
    if name == "threshold":
        raise ValueError(
            "the derivative of the threshold activation is zero, so backpropagation cannot train through it; "
            "it can be used forward only"
        )
    call = compiled.functions(delta.dtype.name)
    call.multiply_derivative(activation_code(name), delta.size, compiled.address(output), compiled.address(delta))
