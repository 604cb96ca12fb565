"""THE KERNEL: batch backpropagation over the rows of one shard, block by block.

Shapes, for a network with L layers of sizes N_0 ... N_L:

    n          rows of a block                 X  (n, N_0)   inputs
    A_l        (n, N_l)  outputs of layer l    A_0 = X
    D_l        (n, N_l)  error signal delta_l g'(r_l), with respect to the net input of layer l
    W_l, b_l   (N_l-1, N_l), (N_l,)            parameters of layer l
    G          (P,)      gradient, laid out like the parameter vector

    forward     A_l = g_l(A_l-1 W_l + b_l)                         F2
    error       D_L = (y - t) g'(r_L)                              S1
    gradient    dE/dW_l = A_l-1^T D_l,  dE/db_l = 1^T D_l          S3 (U2-U5 are its first two layers)
    back        D_l-1 = (D_l W_l^T) g'(r_l-1)                      S2

Everything is preallocated and every pass writes in place: nothing of a block's size is allocated in steady state. Blocks
are as long as the caches like; their number and cuts depend on the rows and the network alone, so the result is a pure
function of (parameters, rows): the same bits in any process (on one CPU type, with one BLAS thread).
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from dbp.network.activations import activation
from dbp.network.linear import layer_products
from dbp.network.losses import ErrorSums, LossName, loss_function
from dbp.network.network import LayerParameters, Network

Array = NDArray[np.floating]
Classes = NDArray[np.int32]
Targets = Array | Classes

BLOCK_ROWS, SMALLEST_BLOCK = 1024, 128
BUFFER_BYTES = 16 << 20


def block_rows(network: Network, itemsize: int) -> int:
    """Return the best length of a block: it amortises Python's calls and stays in the cache.

    Measured: 1024 rows are best or near it. Only very wide layers get shorter blocks, to bound the memory of the buffers.
    """
    rows = BLOCK_ROWS
    while rows > SMALLEST_BLOCK and rows * max(network.sizes[1:]) * itemsize > BUFFER_BYTES:
        rows //= 2
    return rows


def check_trainable(network: Network, loss: LossName) -> None:
    """Raise ValueError for a network that cannot be trained with this loss."""
    if not network.trainable:
        raise ValueError(
            "activation threshold: its derivative is zero, so backpropagation cannot train through it; "
            "it can be used forward only"
        )
    if loss == "cross_entropy" and network.activations[-1] != "identity":
        raise ValueError(
            f"output activation {network.activations[-1]!r}; expected 'identity' with cross_entropy: "
            "its softmax or logistic function is part of the loss"
        )


class Kernel:
    """Buffers and operations for one network, loss and dtype; used for many shards, by one thread at a time."""

    def __init__(self, network: Network, loss: LossName, dtype: np.dtype[np.floating]) -> None:
        check_trainable(network, loss)
        self.network = network
        self.dtype = np.dtype(dtype)
        self._loss = loss_function(loss)
        self._logits = loss == "cross_entropy"
        self._activations = [activation(name) for name in network.activations]
        self._products = layer_products(self.dtype)
        self._block_rows = block_rows(network, self.dtype.itemsize)
        longest = self._block_rows * 3 // 2
        widths = network.sizes[1:]
        self._outputs = [np.empty((longest, width), self.dtype) for width in widths]
        self._deltas = [np.empty((longest, width), self.dtype) for width in widths]
        self._targets = np.empty((longest, widths[-1]), self.dtype)
        self._scratch = np.empty((longest, widths[-1]), self.dtype)
        self._per_row = np.empty((longest, 1), self.dtype)
        self._ones = np.ones(longest, self.dtype)
        self._classes = np.arange(widths[-1], dtype=np.int32)

    def gradient_sum(self, theta: Array, inputs: Array, targets: Targets, gradient: Array) -> ErrorSums:
        """Overwrite `gradient` (P,) with dE/dtheta summed over the rows; return the sums of the errors.

        inputs (rows >= 1, N_0) C-contiguous; targets (rows, N_L) of the kernel's dtype, or class indices (rows,) int32.
        """
        layers = tuple(self.network.layers(theta))
        gradients = tuple(self.network.layers(gradient))
        loss = squared = 0.0
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for start, stop in self._blocks(len(inputs)):
                block = inputs[start:stop]
                self._forward(block, layers)
                sums = self._error_signal(targets[start:stop])
                self._backward(block, layers, gradients, beta=1.0 if start else 0.0)
                loss, squared = loss + sums.loss, squared + sums.squared_error
        return ErrorSums(loss, squared)

    def loss_sum(self, theta: Array, inputs: Array, targets: Targets) -> tuple[ErrorSums, int]:
        """Return the sums of the errors, and how many rows are classified right (0 where targets are no classes)."""
        layers = tuple(self.network.layers(theta))
        loss, squared, correct = 0.0, 0.0, 0
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for start, stop in self._blocks(len(inputs)):
                outputs = self._forward(inputs[start:stop], layers)
                if targets.ndim == 1:
                    correct += int(np.count_nonzero(self.predicted_classes(outputs) == targets[start:stop]))
                sums = self._error_signal(targets[start:stop])
                loss, squared = loss + sums.loss, squared + sums.squared_error
        return ErrorSums(loss, squared), correct

    def error_signals(self, theta: Array, inputs: Array, targets: Targets) -> list[Array]:
        """Return the error signal delta = dE/d(outputs) of every layer: [(rows, N_0), ..., (rows, N_L)] (S1, S2; S5).

        The last is y - t (of the probabilities, for cross-entropy); the first is what reaches the inputs.
        """
        layers = tuple(self.network.layers(theta))
        unused = tuple(self.network.layers(np.empty_like(theta)))
        signals = [np.empty((len(inputs), width), self.dtype) for width in self.network.sizes]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for start, stop in self._blocks(len(inputs)):
                self._forward(inputs[start:stop], layers)
                self._error_signal(targets[start:stop])
                np.copyto(signals[-1][start:stop], self._deltas[-1][: stop - start])
                self._backward(inputs[start:stop], layers, unused, beta=0.0)
                for depth, layer in enumerate(layers):
                    self._products.back(self._deltas[depth][: stop - start], layer.weights, signals[depth][start:stop])
        return signals

    def predicted_classes(self, outputs: Array) -> NDArray[np.intp]:
        """Return the class index (rows,) that each row of outputs stands for."""
        return predicted_classes(outputs, logits=self._logits)

    def _blocks(self, rows: int) -> list[tuple[int, int]]:
        # Equal blocks rather than full ones and a rest, as near to the best length as they come: at most 3/2 of it.
        count = max(min(rows, 1), (2 * rows + self._block_rows) // (2 * self._block_rows))
        return [(rows * k // count, rows * (k + 1) // count) for k in range(count)]

    def _forward(self, block: Array, layers: tuple[LayerParameters, ...]) -> Array:
        rows = len(block)
        for depth, layer in enumerate(layers):
            net = self._outputs[depth][:rows]
            self._products.affine(block, layer.weights, layer.bias, net)
            self._activations[depth].forward(net, self._deltas[depth][:rows])
            block = net
        return block

    def _error_signal(self, targets: Targets) -> ErrorSums:
        """Leave dE/dy in the last delta buffer. The outputs stay as they are: g' is computed from them."""
        rows = len(targets)
        delta, scratch = self._deltas[-1][:rows], self._scratch[:rows]
        np.copyto(delta, self._outputs[-1][:rows])
        known = self._one_hot(cast(Classes, targets)) if targets.ndim == 1 else cast(Array, targets)
        return self._loss.error_signal(delta, known, scratch, self._per_row[:rows])

    def _one_hot(self, classes: Classes) -> Array:
        """Return 0/1 targets (rows, N_L) for class indices; with one output the index, 0 or 1, is the target."""
        targets = self._targets[: len(classes)]
        if len(self._classes) == 1:
            np.copyto(targets[:, 0], classes)
        else:
            np.equal(classes[:, None], self._classes, out=targets)
        return targets

    def _backward(
        self, inputs: Array, layers: tuple[LayerParameters, ...], gradients: tuple[LayerParameters, ...], beta: float
    ) -> None:
        rows = len(inputs)
        for depth in range(len(layers) - 1, -1, -1):
            delta = self._deltas[depth][:rows]
            # g' uses the layer's outputs up; the layer above has taken its weight gradient from them already.
            self._activations[depth].multiply_derivative(self._outputs[depth][:rows], delta)
            below = self._outputs[depth - 1][:rows] if depth else inputs
            self._products.weight_gradient(below, delta, gradients[depth].weights, beta)
            self._products.bias_gradient(self._ones[:rows], delta, gradients[depth].bias, beta)
            if depth:
                self._products.back(delta, layers[depth].weights, self._deltas[depth - 1][:rows])


def predicted_classes(outputs: Array, *, logits: bool) -> NDArray[np.intp]:
    """Return the class index (rows,) that each row of outputs (rows, N) stands for.

    The largest output wins (the first of equals); a single output is class 1 above 0 (`logits`: a net input of the
    logistic function) or above 1/2 (an output trained on 0 and 1).
    """
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > (0.0 if logits else 0.5)).astype(np.intp)
    classes: NDArray[np.intp] = np.argmax(outputs, axis=1)
    return classes
