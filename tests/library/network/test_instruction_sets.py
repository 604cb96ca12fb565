"""The same bits from every instruction set that this machine has: for any network, loss, precision and number of rows.

portable (one multiply-add at a time, as the C standard has it), AVX2 (8 at a time) and AVX-512 (16 at a time) are compiled from the
same lines; a result that depended on the width of a vector or on the compiler's taste would differ here.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbp import Network
from dbp.errors import InputError
from dbp.network import compiled
from dbp.network.activations import ACTIVATION_NAMES, activation_code
from dbp.network.backprop import Kernel
from dbp.sums.fingerprint import kernel_fingerprint

HERE = compiled.INSTRUCTION_SETS[: compiled.INSTRUCTION_SETS.index(compiled.instruction_set()) + 1]
TRAINABLE = [name for name in ACTIVATION_NAMES if name != "threshold"]
UNITS = st.one_of(st.integers(1, 20), st.sampled_from([31, 33, 64, 65, 100, 130, 300]))
# The fingerprint of `kernel_fingerprint`, the same on every machine; it changes only when the kernel's arithmetic does.
FINGERPRINT = "822cdfbdbfa6b943"


@settings(deadline=None, max_examples=120)
@given(
    sizes=st.lists(UNITS, min_size=2, max_size=4),
    names=st.lists(st.sampled_from(TRAINABLE), min_size=3, max_size=3),
    loss=st.sampled_from(["squared_error", "cross_entropy", "binary_cross_entropy", "poisson"]),
    dtype=st.sampled_from(["float32", "float64"]),
    rows=st.one_of(st.integers(1, 40), st.sampled_from([127, 128, 129, 300])),
    seed=st.integers(0, 999),
)
def test_every_instruction_set_gives_the_same_gradient(sizes, names, loss, dtype, rows, seed):
    network = Network(sizes, [*names[: len(sizes) - 2], "identity"])
    draw = np.random.default_rng(seed)
    theta = (network.initial_parameters(seed, "float64") * draw.choice([1, 3])).astype(dtype)
    inputs = draw.standard_normal((rows, sizes[0])).astype(dtype)
    if loss == "cross_entropy":
        targets = draw.integers(0, max(sizes[-1], 2), rows).astype(np.int32)
    elif loss == "binary_cross_entropy":
        targets = draw.integers(0, 2, (rows, sizes[-1])).astype(dtype)
    elif loss == "poisson":
        targets = draw.poisson(2, (rows, sizes[-1])).astype(dtype)
    else:
        targets = draw.standard_normal((rows, sizes[-1])).astype(dtype)
    found = set()
    for instructions in HERE:
        kernel = Kernel(network, loss, np.dtype(dtype), instructions=instructions)
        kernel.move_to(theta)
        gradient = np.full_like(theta, np.nan)
        sums = kernel.gradient_sum(inputs, targets, gradient)
        assert np.isfinite(gradient).all()
        found.add((sums, kernel.loss_sum(inputs, targets), gradient.tobytes()))
    assert len(found) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_every_instruction_set_gives_the_same_activation(name, dtype):
    """A million numbers over the whole range, ends, infinities and subnormal numbers included."""
    draw = np.random.default_rng(1)
    net = np.concatenate([draw.standard_normal(300_000) * scale for scale in (1e-3, 1, 20, 300)]).astype(dtype)
    net[:6] = [0.0, -0.0, np.inf, -np.inf, np.finfo(dtype).tiny / 4, np.finfo(dtype).max]
    found = set()
    for instructions in HERE:
        output = net.copy()
        call = compiled.functions(dtype, instructions)
        call.activate(activation_code(name), output.size, compiled.address(output))
        delta = np.ones_like(output)
        call.multiply_derivative(activation_code(name), output.size, compiled.address(output), compiled.address(delta))
        found.add((output.tobytes(), delta.tobytes()))
    assert len(found) == 1


@pytest.mark.parametrize("instructions", HERE)
def test_a_process_computes_with_what_the_environment_asks_for(instructions):
    """And gets the very fingerprint that every other machine gets, numpy's own vector instructions switched off or not."""
    code = (
        "from dbp.network.compiled import instruction_set; from dbp.sums.fingerprint import kernel_fingerprint; "
        "print(instruction_set(), kernel_fingerprint())"
    )
    environment = {**os.environ, compiled.VARIABLE: instructions, "NPY_DISABLE_CPU_FEATURES": "X86_V4"}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [instructions, FINGERPRINT], done.stderr


def test_the_fingerprint_is_that_of_every_machine():
    assert kernel_fingerprint() == FINGERPRINT


def test_instructions_that_are_not_there(monkeypatch):
    monkeypatch.setenv(compiled.VARIABLE, "neon2")
    compiled.instruction_set.cache_clear()
    try:
        with pytest.raises(InputError, match="DBP_INSTRUCTIONS='neon2'; expected one that this machine has: portable"):
            compiled.instruction_set()
    finally:
        monkeypatch.undo()
        compiled.instruction_set.cache_clear()
