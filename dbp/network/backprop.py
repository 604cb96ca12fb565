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

The work is done in native/kernel.c, block by block: everything is preallocated, an activation is applied while its block
is in the cache, and a product starts from the bias or adds to the gradient in registers. The blocks' number and cuts depend
on the rows and the network alone, and each number is one fixed chain of IEEE operations: the result is a pure function of
(parameters, rows), the same bits in any process and on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dbp.network.activations import activation_code
from dbp.network.compiled_network import CompiledNetwork
from dbp.network.losses import WITH_OUTPUT_FUNCTION, ErrorSums, LossName, loss_code
from dbp.network.network import Network
from dbp.network.tree_sums import Leaves, TreesTask

Array = NDArray[np.floating]
Classes = NDArray[np.int32]
Targets = Array | Classes


def check_trainable(network: Network, loss: LossName) -> None:
    """Raise ValueError for a network that cannot be trained with this loss."""
    if not network.trainable:
        raise ValueError(
            "activation threshold: its derivative is zero, so backpropagation cannot train through it; "
            "it can be used forward only"
        )
    if loss in WITH_OUTPUT_FUNCTION and network.activations[-1] != "identity":
        raise ValueError(
            f"output activation {network.activations[-1]!r}; expected 'identity' with {loss}: "
            f"its {WITH_OUTPUT_FUNCTION[loss]} is part of the loss"
        )


class Kernel:
    """Sums over rows for one network, loss and dtype: many calls at one point, by one thread at a time.

    `huber_delta` is where the Huber loss turns from a square into a line. `block` (rows) and `instructions` are for measuring
    and testing; each other block length gives other last bits.
    """

    def __init__(
        self,
        network: Network,
        loss: LossName,
        dtype: np.dtype[np.floating],
        *,
        huber_delta: float = 1.0,
        block: int | None = None,
        instructions: str | None = None,
    ) -> None:
        check_trainable(network, loss)
        self.network = network
        self.dtype = np.dtype(dtype)
        codes = [activation_code(name) for name in network.activations]
        self._compiled = CompiledNetwork(
            *(network.sizes, codes, loss_code(loss), self.dtype),
            trains=True,
            huber_delta=huber_delta,
            block=block,
            instructions=instructions,
        )

    @property
    def block_rows(self) -> int:
        """The length of a block."""
        return self._compiled.block_rows

    def move_to(self, theta: Array) -> None:
        """Take the parameters (P,), contiguous and of the kernel's dtype, for the calls that follow; they are read, not kept."""
        self._check(theta)
        self._compiled.pack(theta)

    def _check(self, theta: Array) -> None:
        self.network.check_shape(theta)
        if theta.dtype != self.dtype:
            raise ValueError(f"parameters: {theta.dtype}; expected {self.dtype}")

    def gradient_sum(self, inputs: Array, targets: Targets, gradient: Array, weights: Array | None = None) -> ErrorSums:
        """Overwrite `gradient` (P,) with dE/dtheta summed over the rows; return the sums of the errors.

        inputs (rows >= 1, N_0) C-contiguous; targets (rows, N_L) of the kernel's dtype, or class indices (rows,) int32; weights
        (rows,) multiply each row's error, None: by 1.
        """
        sums = self._compiled.sums(inputs, targets, weights, gradient)
        return ErrorSums(sums.loss, sums.squared_error)

    def trees_task(self, theta: Array, leaves: Leaves, gradients: Sequence[Array]) -> TreesTask:
        """Return the sums over the leaves of trees, and their gradients, as a task: see `TreesTask`. Moves to theta (P,)."""
        self._check(theta)
        return TreesTask(self._compiled, theta, leaves, gradients)

    def loss_sum(self, inputs: Array, targets: Targets, weights: Array | None = None) -> tuple[ErrorSums, int]:
        """Return the sums of the errors, and how many rows are classified right (0 where targets are no classes)."""
        sums = self._compiled.sums(inputs, targets, weights)
        return ErrorSums(sums.loss, sums.squared_error), sums.correct

    def gauss_newton_sum(self, inputs: Array, gram: Array, weights: Array | None = None) -> None:
        """Overwrite `gram` (P, P) with the upper triangle of J'J, summed over the rows, and zeros below.

        J (outputs, P) is the Jacobian of a row's outputs: for the squared error J'J is the Gauss-Newton matrix.
        """
        self._compiled.gauss_newton(inputs, weights, gram)

    def error_signals(self, theta: Array, inputs: Array, targets: Targets) -> list[Array]:
        """Return the error signal delta = dE/d(outputs) of every layer: [(rows, N_0), ..., (rows, N_L)] (S1, S2; S5).

        The last is y - t (of the probabilities, for cross-entropy); the first is what reaches the inputs.
        """
        signals = [np.empty((len(inputs), width), self.dtype) for width in self.network.sizes]
        self._compiled.pack_first_transposed()
        self.move_to(theta)
        self._compiled.sums(inputs, targets, gradient=np.empty_like(theta), signals=signals)
        return signals


def predicted_labels(outputs: Array) -> NDArray[np.bool_]:
    """Return whether each label is predicted (rows, labels), for net inputs (rows, labels) of the logistic function: above 0."""
    return outputs > 0


def predicted_classes(outputs: Array, *, logits: bool) -> NDArray[np.intp]:
    """Return the class index (rows,) that each row of outputs (rows, N) stands for.

    The largest output wins (the first of equals); a single output is class 1 above 0 (`logits`: a net input of the
    logistic function) or above 1/2 (an output trained on 0 and 1).
    """
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > (0.0 if logits else 0.5)).astype(np.intp)
    classes: NDArray[np.intp] = np.argmax(outputs, axis=1)
    return classes
