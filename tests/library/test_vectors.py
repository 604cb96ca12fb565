"""Sums over vectors: exact enough, in float64, and no work for a BLAS."""

from __future__ import annotations

import ast
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import dbp.optimizers
from dbp.network import compiled
from dbp.vectors import cosine_of_pi_times, digest, dot, moved, norm, power, scaled, two_loop_recursion

FILES = sorted(Path(dbp.optimizers.__file__).parent.glob("*.py"))


@given(st.integers(1, 3000), st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
def test_an_inner_product_is_that_of_exact_arithmetic(size, seed, dtype):
    """Against math.fsum, which rounds once: within some units of the last place of float64, in both precisions."""
    first, second = np.random.default_rng(seed).standard_normal((2, size)).astype(dtype)
    products = [float(a) * float(b) for a, b in zip(first, second, strict=True)]
    assert dot(first, second) == pytest.approx(math.fsum(products), abs=1e-14 * (1 + math.fsum(map(abs, products))))
    assert norm(first) == pytest.approx(math.sqrt(math.fsum(float(a) ** 2 for a in first)), rel=1e-14)


@given(st.integers(1, 300), st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
def test_the_two_loop_recursion_is_the_product_with_the_bfgs_matrix(size, count, seed, dtype):
    """Against H written out as a matrix by the update of BFGS, pair by pair (Nocedal & Wright 2006, equation 6.17)."""
    random = np.random.default_rng(seed)
    moves = random.standard_normal((count, size)).astype(dtype)
    changes = (moves * random.uniform(0.5, 2.0, size) + 0.01 * random.standard_normal((count, size))).astype(dtype)
    gradient = random.standard_normal(size).astype(dtype)
    pairs = [(s, y) for s, y in zip(moves, changes, strict=True) if s.astype(float) @ y.astype(float) > 0.1 * (s @ s)]
    assume(pairs)
    inverse = np.eye(size) * (pairs[0][0].astype(float) @ pairs[0][1] / (pairs[0][1].astype(float) @ pairs[0][1]))
    for s, y in reversed(pairs):
        s, y = s.astype(np.float64), y.astype(np.float64)
        left = np.eye(size) - np.outer(s, y) / (s @ y)
        inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ y)
    direction = two_loop_recursion(gradient, [s for s, _ in pairs], [y for _, y in pairs])
    assert direction.dtype == dtype
    expected = -inverse @ gradient
    tolerance = 1e-6 if dtype is np.float32 else 1e-9
    assert np.linalg.norm(direction - expected) <= tolerance * np.linalg.norm(expected) * np.linalg.cond(inverse)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000])
def test_the_two_loop_recursion_adds_in_the_order_of_dot(dtype, size):
    """The same bits as the recursion by hand, with `dot` for its sums: what earlier versions computed."""
    random = np.random.default_rng(size)
    moves = random.standard_normal((4, size)).astype(dtype)
    changes = (moves * random.uniform(0.5, 2.0, size)).astype(dtype)
    gradient = random.standard_normal(size).astype(dtype)
    vector, shares = -gradient.astype(np.float64), []
    for s, y in zip(moves, changes, strict=True):
        shares.append(dot(s, vector) / dot(s, y))
        vector = vector - y.astype(np.float64) * shares[-1]
    vector = vector * (dot(moves[0], changes[0]) / dot(changes[0], changes[0]))
    for s, y, share in reversed(list(zip(moves, changes, shares, strict=True))):
        vector = vector + s.astype(np.float64) * (share - dot(y, vector) / dot(s, y))
    assert two_loop_recursion(gradient, list(moves), list(changes)).tobytes() == vector.astype(dtype).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_instruction_set_finds_the_same_bits(dtype, monkeypatch):
    random = np.random.default_rng(0)
    moves, changes = random.standard_normal((2, 3, 1001)).astype(dtype)
    available = compiled.INSTRUCTION_SETS[: compiled.INSTRUCTION_SETS.index(compiled.instruction_set()) + 1]
    functions, found = compiled.functions, set()
    for instructions in available:
        monkeypatch.setattr(compiled, "functions", partial(functions, instructions=instructions))
        found.add((two_loop_recursion(moves[0], list(moves), list(changes)).tobytes(), dot(moves[0], changes[0])))
    assert len(found) == 1


def test_the_two_loop_recursion_refuses_vectors_that_do_not_fit():
    gradient = np.ones(3)
    for moves, changes in (
        ([], []),
        ([gradient], []),
        ([np.ones(2)], [gradient]),
        ([np.ones(3, np.float32)], [gradient]),
    ):
        with pytest.raises(ValueError, match="expected"):
            two_loop_recursion(gradient, moves, changes)


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
