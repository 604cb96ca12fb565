"""Sums over vectors: exact enough, in float64, and no work for a BLAS."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dbp.optimizers
from dbp.vectors import cosine_of_pi_times, dot, moved, norm, power, scaled

FILES = sorted(Path(dbp.optimizers.__file__).parent.glob("*.py"))


@given(st.integers(1, 3000), st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
def test_an_inner_product_is_that_of_exact_arithmetic(size, seed, dtype):
    """Against math.fsum, which rounds once: within some units of the last place of float64, in both precisions."""
    first, second = np.random.default_rng(seed).standard_normal((2, size)).astype(dtype)
    products = [float(a) * float(b) for a, b in zip(first, second, strict=True)]
    assert dot(first, second) == pytest.approx(math.fsum(products), abs=1e-14 * (1 + math.fsum(map(abs, products))))
    assert norm(first) == pytest.approx(math.sqrt(math.fsum(float(a) ** 2 for a in first)), rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scalars_do_not_change_a_vectors_precision(dtype):
    vector = np.ones(3, dtype=dtype)
    assert scaled(0.1, vector).dtype == dtype
    assert moved(vector, 0.1, vector).tolist() == [float(dtype(1) + dtype(0.1))] * 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_method_calls_a_blas(path):
    """Its kernels differ from CPU to CPU, and so would the bits."""
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.MatMult), f"{path.name}: @"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("dot", "vdot", "inner", "matmul", "linalg", "einsum", "tensordot"), path.name


@given(st.floats(0.5, 1.0), st.integers(0, 5000))
def test_powers_are_those_of_the_c_library_to_rounding(base, exponent):
    assert power(base, exponent) == pytest.approx(base**exponent, rel=1e-12, abs=1e-300)


@given(st.floats(0.0, 1.0))
def test_the_cosine_is_that_of_the_c_library_to_rounding(part):
    assert cosine_of_pi_times(part) == pytest.approx(math.cos(math.pi * part), abs=1e-15)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_method_calls_the_c_librarys_functions(path):
    """pow, cos, exp and log differ in their last bits from machine to machine; the square root does not."""
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Pow), f"{path.name}: **"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "math":
            assert node.attr in ("sqrt", "copysign", "isfinite", "isnan", "inf", "nan", "pi"), (
                f"{path.name}: math.{node.attr}"
            )
