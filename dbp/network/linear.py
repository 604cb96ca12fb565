"""The four matrix products of a fully connected layer, straight into BLAS with accumulation.

numpy's matmul cannot add into its result, so a bias or a gradient would cost one more pass over memory per block. scipy's
gemm can (``C <- A B + beta C``). BLAS stores matrices by columns; our C-contiguous (rows, units) arrays are, untouched,
the transposes BLAS wants, so nothing is copied as long as every argument is contiguous and of one dtype.

Where a layer is small, matmul and one more pass win all the same (measured): a gradient of up to SMALL_GRADIENT entries
costs less to add than numpy's OpenBLAS, newer than scipy's, saves on these tall and thin products (10-40 %); and a layer of one
unit is a matrix-vector product to matmul, 2-6 times faster than the general one with AVX2. Which way is taken depends on the
layer's shape alone, so the bits stay a pure function of parameters and rows.

    n rows of the block, i units in, o units out
    inputs (n, i)   weights (i, o)   bias (o,)   net, delta (n, o)
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

Array = NDArray[np.floating]


class LayerProducts(Protocol):
    """The products for one dtype."""

    def affine(self, inputs: Array, weights: Array, bias: Array, net: Array) -> None:
        """net <- inputs weights + bias."""
        ...

    def weight_gradient(self, inputs: Array, delta: Array, gradient: Array, beta: float) -> None:
        """gradient (i, o) <- inputs^T delta + beta gradient, beta 0 or 1 (S3: the sum over samples of out_A delta_B)."""
        ...

    def bias_gradient(self, ones: Array, delta: Array, gradient: Array, beta: float) -> None:
        """gradient (o,) <- column sums of delta + beta gradient, as a product with a vector of ones."""
        ...

    def back(self, delta: Array, weights: Array, out: Array) -> None:
        """out (n, i) <- delta weights^T (S2: the error signal one layer back)."""
        ...


SMALL_GRADIENT = 1 << 16  # entries


class _BlasProducts:
    def __init__(self, dtype: np.dtype[np.floating]) -> None:
        self._block_gradient = np.empty(SMALL_GRADIENT, dtype)
        single = dtype == np.dtype(np.float32)
        self._gemm = blas.sgemm if single else blas.dgemm
        self._gemv = blas.sgemv if single else blas.dgemv

    def affine(self, inputs: Array, weights: Array, bias: Array, net: Array) -> None:
        if len(bias) == 1:
            np.matmul(inputs, weights, out=net)
            np.add(net, bias, out=net)
            return
        np.copyto(net, bias)
        self._gemm(1.0, weights.T, inputs.T, beta=1.0, c=net.T, overwrite_c=1)

    def weight_gradient(self, inputs: Array, delta: Array, gradient: Array, beta: float) -> None:
        if gradient.size <= SMALL_GRADIENT:
            if not beta:
                np.matmul(inputs.T, delta, out=gradient)
                return
            of_block = self._block_gradient[: gradient.size].reshape(gradient.shape)
            np.matmul(inputs.T, delta, out=of_block)
            np.add(gradient, of_block, out=gradient)
            return
        self._gemm(1.0, delta.T, inputs.T, trans_b=1, beta=beta, c=gradient.T, overwrite_c=1)

    def bias_gradient(self, ones: Array, delta: Array, gradient: Array, beta: float) -> None:
        self._gemv(1.0, delta.T, ones, beta=beta, y=gradient, overwrite_y=1)

    def back(self, delta: Array, weights: Array, out: Array) -> None:
        self._gemm(1.0, weights.T, delta.T, trans_a=1, beta=0.0, c=out.T, overwrite_c=1)


def layer_products(dtype: np.dtype[np.floating]) -> LayerProducts:
    """Return the products for float32 or float64."""
    return _BlasProducts(dtype)
