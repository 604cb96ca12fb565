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
from dbp.vectors import cosine_of_pi_times, digest, dot, moved, norm, power, scaled

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


def words_of_digest(data: bytes) -> int:
    """The definition in native/digest.c, in Python's whole numbers."""
    mask = 2**64 - 1

    def stir(h: int, word: int) -> int:
        mixed = h ^ word
        return ((mixed << 29 | mixed >> 35) & mask) * 0x9E3779B97F4A7C15 & mask

    chains = [stir(len(data), chain + 1) for chain in range(8)]
    padded = data + bytes(-len(data) % 64)
    for place in range(0, len(padded), 8):
        chain = place // 8 % 8
        chains[chain] = stir(chains[chain], int.from_bytes(padded[place : place + 8], "little"))
    h = len(data)
    for chain in chains:
        h = stir(h, chain)
        h ^= h >> 32
    h = stir(h, 0)
    return h ^ h >> 32


@given(st.integers(0, 300), st.integers(0, 2**32 - 1), st.sampled_from(["<f4", "<f8", ">f4", ">f8"]))
def test_a_digest_is_what_its_definition_says_in_any_byte_order(size, seed, dtype):
    vector = np.random.default_rng(seed).standard_normal(size).astype(dtype)
    little = vector.astype(vector.dtype.newbyteorder("<")).tobytes()
    assert digest(vector) == f"{words_of_digest(little):016x}"


@given(st.integers(1, 200), st.data())
def test_any_flipped_bit_changes_a_digest(size, data):
    vector = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    bits = vector.copy().view(np.uint32)
    bits[data.draw(st.integers(0, size - 1))] ^= np.uint32(1 << data.draw(st.integers(0, 31)))
    assert digest(bits.view(np.float32)) != digest(vector)


def test_a_digest_tells_minus_zero_lengths_and_the_order():
    zeros = np.zeros(5)
    assert len({digest(each) for each in (zeros, -zeros, zeros[:4], zeros.astype(np.float32))}) == 4
    assert digest(np.array([1.0, 2.0])) != digest(np.array([2.0, 1.0]))
    assert digest(np.arange(6.0)[::2]) == digest(np.array([0.0, 2.0, 4.0]))
