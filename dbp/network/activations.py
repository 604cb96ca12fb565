"""Activation functions g and their derivatives, as in-place passes over a block (row F3 of the derivation).

Each works on a whole block of net inputs r of shape (rows, units), contiguous, and allocates nothing: the caller lends a
scratch block of the same shape. Derivatives are computed from the *output* g(r), the only thing the forward pass keeps.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.floating]

ActivationName = Literal["identity", "threshold", "sigmoid", "tanh", "relu", "softplus", "leaky_relu"]
ACTIVATION_NAMES: tuple[ActivationName, ...] = get_args(ActivationName)

LEAKY_SLOPE = 0.01  # Maas, Hannun & Ng 2013


class Activation(Protocol):
    """One activation function; stateless."""

    def forward(self, net: Block, scratch: Block) -> None:
        """Replace the net inputs r (rows, units) by g(r). `scratch` has the same shape and may be overwritten."""
        ...

    def multiply_derivative(self, output: Block, delta: Block) -> None:
        """Multiply `delta` (rows, units) by g'(r), given output = g(r). `output` is used up: it may be overwritten."""
        ...


class Identity:
    """g(r) = r."""

    def forward(self, net: Block, scratch: Block) -> None:
        """Leave r as it is."""

    def multiply_derivative(self, output: Block, delta: Block) -> None:
        """g' = 1."""


class Threshold:
    """g(r) = 1 where r >= 0, else 0: a linear classifier. Forward use only."""

    def forward(self, net: Block, scratch: Block) -> None:
        """Replace r by 0 or 1."""
        np.greater_equal(net, 0, out=net)

    def multiply_derivative(self, output: Block, delta: Block) -> None:
        """Refuse: nothing can be learnt through a derivative that is zero."""
        raise ValueError(
            "the derivative of the threshold activation is zero, so backpropagation cannot train through it; "
            "it can be used forward only"
        )


class Sigmoid:
    """g(r) = 1 / (1 + exp(-r)), the logistic function; g' = g (1 - g)."""

    def forward(self, net: Block, scratch: Block) -> None:
        """Replace r by g(r). exp overflows to infinity for r < -88 (float32), which gives the right limit 0."""
        np.negative(net, out=net)
        np.exp(net, out=net)
        np.add(net, 1, out=net)
        np.divide(1, net, out=net)

    def multiply_derivative(self, output: Block, delta: Block) -> None:
        """Multiply by g (1 - g)."""
        np.multiply(delta, output, out=delta)
        np.subtract(1, output, out=output)
        np.multiply(delta, output, out=delta)


class Tanh:
    """g(r) = tanh r; g' = 1 - g^2."""

    def forward(self, net: Block, scratch: Block) -> None:
        """Replace r by tanh r."""
        np.tanh(net, out=net)

    def multiply_derivative(self, output: Block, delta: Block) -> None:
        """Multiply by 1 - g^2."""
        np.multiply(output, output, out=output)
        np.subtract(1, output, out=output)
        np.multiply(delta, output, out=delta)


class Relu:
    """g(r) = max(r, 0); g'(0) is taken as 0."""

    def forward(self, net: Block, scratch: Block) -> None:
        """Replace r by max(r, 0)."""
        np.maximum(net, 0, out=net)

    def multiply_derivative(self, output: Block, delta: Block) -> None:
        """Multiply by 1 where the output is positive, else 0."""
        np.greater(output, 0, out=output)
        np.multiply(delta, output, out=delta)


class Softplus:
    """g(r) = log(1 + exp r); g' is the logistic function, 1 - exp(-g)."""

    def forward(self, net: Block, scratch: Block) -> None:
        """Replace r by max(r, 0) + log1p(exp(-|r|)), which overflows nowhere."""
        np.abs(net, out=scratch)
        np.negative(scratch, out=scratch)
        np.exp(scratch, out=scratch)
        np.log1p(scratch, out=scratch)
        np.maximum(net, 0, out=net)
        np.add(net, scratch, out=net)

    def multiply_derivative(self, output: Block, delta: Block) -> None:
        """Multiply by -expm1(-g)."""
        np.negative(output, out=output)
        np.expm1(output, out=output)
        np.negative(output, out=output)
        np.multiply(delta, output, out=delta)


class LeakyRelu:
    """g(r) = r where r > 0, else LEAKY_SLOPE r; g'(0) is taken as the slope."""

    def forward(self, net: Block, scratch: Block) -> None:
        """Replace r by max(r, slope r)."""
        np.multiply(net, LEAKY_SLOPE, out=scratch)
        np.maximum(net, scratch, out=net)

    def multiply_derivative(self, output: Block, delta: Block) -> None:
        """Multiply by slope + (1 - slope) [g > 0]; the sum rounds to exactly 1 where g > 0."""
        slope = output.dtype.type(LEAKY_SLOPE)
        np.greater(output, 0, out=output)
        np.multiply(output, 1 - slope, out=output)
        np.add(output, slope, out=output)
        np.multiply(delta, output, out=delta)


_ACTIVATIONS: dict[ActivationName, Activation] = {
    "identity": Identity(),
    "threshold": Threshold(),
    "sigmoid": Sigmoid(),
    "tanh": Tanh(),
    "relu": Relu(),
    "softplus": Softplus(),
    "leaky_relu": LeakyRelu(),
}


def activation(name: ActivationName) -> Activation:
    """Return the activation function called `name`; ValueError lists the names there are."""
    try:
        return _ACTIVATIONS[name]
    except KeyError:
        raise ValueError(f"{name!r} is not an activation; expected one of: {', '.join(ACTIVATION_NAMES)}") from None
