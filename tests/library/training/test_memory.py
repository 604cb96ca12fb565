"""What training remembers: improvements counted, the best kept, all of it back from arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dbp.storage.array_file import read_arrays, write_arrays
from dbp.training.memory import Best, Measured, Memory, Remember

THETA = np.arange(5.0)


def validated(losses, remember, start=None):
    """The memory after validations with these losses, one every ten steps; the parameters are the step."""
    memory = start or Memory()
    for number, loss in enumerate(losses, 1):
        memory = memory.after_validation(10 * number, loss, np.full(5, 10.0 * number), remember)
    return memory


def test_only_so_many_losses_are_remembered():
    memory = Memory()
    for step in range(1, 6):
        memory = memory.after_step(Measured(1 / step, 0.5), float(step), Remember(losses=3))
    assert memory.losses == (1 / 3, 1 / 4, 1 / 5)
    assert (memory.gradient_norm, memory.seconds, memory.finished) == (0.5, 5.0, None)


def test_validations_without_improvement_are_counted():
    """Equal is no improvement, and neither is NaN."""
    for losses, waited in [([3, 2, 1], 0), ([3, 2, 2], 1), ([1, 2, math.nan, 1], 3), ([3, 4, 2, 5], 1)]:
        assert validated(losses, Remember()).waited == waited, losses


def test_an_improvement_must_be_large_enough():
    """Small falls add up: they are measured from the last that counted, not from the last."""
    remember = Remember(min_improvement=0.5)
    assert validated([3.0, 2.6], remember).waited == 1
    assert validated([3.0, 2.5], remember).waited == 1  # by more than this
    assert validated([3.0, 2.6, 2.4], remember).waited == 0


def test_the_best_is_the_lowest_however_small_the_improvement():
    memory = validated([3.0, 2.9, 2.95, math.nan], Remember(min_improvement=1.0, best=True))
    assert (memory.best.step, memory.best.loss, memory.waited) == (20, 2.9, 3)
    np.testing.assert_array_equal(memory.best.parameters, np.full(5, 20.0))
    assert validated([math.nan, math.inf], Remember(best=True)).best is None


def test_the_best_is_kept_only_where_it_is_wanted():
    assert validated([3.0], Remember()).best is None
    kept = validated([3.0], Remember(best=True))
    assert kept.after_step(Measured(1.0, 1.0), 1.0, Remember()).best is None


@pytest.mark.parametrize(
    "memory",
    [
        Memory(),
        Memory(1.5, (3.0, 0.1), 0.25, "ein schöner Grund", 0.125, 4, Best(30, 0.1, THETA)),
        Memory(losses=(0.1,), gradient_norm=math.inf, finished=""),
    ],
)
def test_a_memory_comes_back_from_its_arrays(memory, tmp_path):
    """By way of a file, as a checkpoint has it."""
    write_arrays(tmp_path / "m", memory.to_arrays(), {})
    again = Memory.from_arrays(read_arrays(tmp_path / "m")[0])
    assert again == memory if memory.best is None else repr(again) == repr(memory)


def test_no_arrays_are_an_empty_memory_and_others_are_refused():
    assert Memory.from_arrays({}) == Memory()
    for arrays in ({"numbers": np.zeros(2)}, {"losses": np.zeros(1)}):
        with pytest.raises((KeyError, ValueError)):
            Memory.from_arrays(arrays)
