"""The classic problems of the methods' papers, few seeds each; benchmarks/classics.py counts over 20 (docs/optimizers.md)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "classics.py"


@pytest.fixture(scope="module")
def classics():
    import sys

    spec = importlib.util.spec_from_file_location("benchmarks_classics", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def solved(classics, number, method, seeds):
    classic = classics.CLASSICS[number]()
    runs = [classics.evaluations_needed(classic, classics.OPTIONS[method], seed) for seed in range(seeds)]
    return [run for run in runs if run is not None]


METHODS = ("rprop", "conjugate_gradient", "scaled_conjugate_gradient")
# problem (its place in CLASSICS): seeds, and how many of them each method solves at least
FEW = {"xor": (0, 6, 2), "4-2-4": (1, 5, 4), "10-5-10": (2, 5, 4), "sine": (5, 3, 2)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("problem", FEW)
def test_methods_converge_on_the_problems_of_their_papers(classics, problem, method):
    """XOR with two hidden units has local minima for every method; the others are solved from nearly every start."""
    number, seeds, least = FEW[problem]
    assert len(solved(classics, number, method, seeds)) >= least


def test_rprop_solves_the_12_2_12_encoder(classics):
    """Riedmiller & Braun (1993) report 322 passes on average."""
    (needed, *_) = solved(classics, 3, "rprop", 2)
    assert needed < 1500


def test_two_spirals_are_told_apart(classics):
    """194 points; 2-20-20-1 from the first start or the second, by scaled conjugate gradients."""
    assert solved(classics, 4, "scaled_conjugate_gradient", 2)
