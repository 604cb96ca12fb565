"""Some hundred schedules of the simulation, its planted bugs, and the simulator itself."""

from __future__ import annotations

import random
import re
import sys
from collections import Counter

import pytest

from simulation import __main__ as command
from simulation.campaign import Runner, hunt
from simulation.disk import HOME, Disk, File
from simulation.mutants import HARMLESS, MUTANTS, sources_checked
from simulation.plan import KINDS, Plan
from simulation.probes import EXPECTED
from simulation.problems import PROBLEMS, undisturbed
from simulation.workers import MOST_EVENTS

SEEDS = 400
AUDITED_SEEDS = 150
MOST_SEEDS = 5000  # that a hunt for a planted bug may take


@pytest.fixture(scope="module")
def results():
    runner = Runner()
    return [runner.run(seed) for seed in range(SEEDS)]


def test_every_schedule_ends_with_the_same_bits_or_says_why_not(results):
    """`make simulate` runs 10,000. The last part of an outcome was checked after the fault that lasted had been mended."""
    wrong = [f"make simulate SEED={result.seed}: {result.violation}" for result in results if result.violated]
    assert not wrong
    assert {result.outcome for result in results} <= {
        "same bits",
        "FAILED: no worker can come back; the same bits after it was mended",
        "FAILED: the disk takes no checkpoint; the same bits after it was mended",
    }


def test_audits_among_all_other_faults():
    """Workers with a wrong bit now and then, a full audit, and whatever else the seed brings: the undisturbed bits, or a reason.

    A wrong answer that comes twice, or after its worker was lost, is judged by nobody: it must not be added.
    """
    runner, probes, outcomes = Runner(), Counter(), Counter()
    for seed in range(AUDITED_SEEDS):
        plan = Plan.draw(seed, len(PROBLEMS)).lying(0.25)
        result = runner.run(seed, plan=plan)
        assert not result.violated, f"seed {seed}: {result.violation}"
        probes.update(result.world.probes)
        outcomes[result.outcome] += 1
    assert probes["removed by an audit"] > AUDITED_SEEDS / 4
    assert outcomes["same bits"] > AUDITED_SEEDS / 2


def test_the_faults_really_strike(results):
    """All of `EXPECTED` in `make simulate`; here every kind, and most situations."""
    seen = sum((result.world.probes for result in results), Counter())
    kinds = [kind for kind in KINDS if kind not in ("coordinator", "disk_write", "disk_read")]
    assert not [kind for kind in kinds if not seen[kind]]
    assert sum(seen[name] > 0 for name in EXPECTED) > 0.8 * len(EXPECTED)


def test_a_seed_is_the_same_schedule_every_time(results):
    """In another order, so with other sums remembered from the seeds before."""
    again = Runner()
    for result in reversed(results[:50]):
        assert again.run(result.seed).world.trace_sha256 == result.world.trace_sha256


def test_the_problems_differ_and_use_every_kind_of_step():
    kinds = {str(problem.optimizer["name"]) for problem in PROBLEMS}
    assert kinds >= {"gradient_descent", "adam", "rprop", "lbfgs", "conjugate_gradient", "levenberg_marquardt"}
    rules = {undisturbed(number).outcome.ending.rule for number in range(len(PROBLEMS))}
    assert rules >= {"max_steps", "patience", "loss_change"}
    ends = {undisturbed(number).states[max(undisturbed(number).states)] for number in range(len(PROBLEMS))}
    assert len(ends) == len(PROBLEMS)


# ---- planted bugs


def recorded() -> dict[str, int]:
    """The seeds of docs/simulation.md, by the name of the bug."""
    rows = re.findall(r"^\| (.+?) \| `[\w.]+` \| (\d+) \|", command.PAGE.read_text(), re.MULTILINE)
    return {name: int(seed) for name, seed in rows}


def test_the_planted_bugs_fit_the_code_and_are_listed():
    assert not sources_checked()
    assert len(MUTANTS) >= 30
    assert set(recorded()) == {mutant.name for mutant in MUTANTS}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant):
    """By the seed in docs/simulation.md, which finds nothing without the bug; after a change of the code, by another one."""
    seed = recorded()[mutant.name]
    assert not Runner().run(seed).violated
    found = hunt(mutant, [seed])
    if found.seed is None:
        found = hunt(mutant, range(MOST_SEEDS))
    assert found.seed is not None


@pytest.mark.parametrize("mutant", HARMLESS, ids=lambda mutant: mutant.name)
def test_what_must_not_matter_does_not(mutant):
    """Sums are pure functions of their shards and are kept under their names: these changes change no bit."""
    assert hunt(mutant, range(60)).seed is None


# ---- the simulator itself


def test_a_failing_seed_tells_what_happened(capsys):
    """The smallest plan that still goes wrong, and its timeline."""
    (mutant,) = (mutant for mutant in MUTANTS if mutant.name == "a dead worker's shards are forgotten")
    found = hunt(mutant, range(50))
    with mutant.planted():
        assert command._one(found.seed, trace=True) == 1
    told = capsys.readouterr().out
    assert "the smallest plan of seed" in told
    assert re.search(r"\d s  worker \d+ +is lost: ", told)
    assert f"seed {found.seed}: {found.violation}" in told


def test_the_command_line_runs_a_seed(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["simulation", "--seed", "3"])
    assert command.main() == 0
    assert "seed 3: same bits" in capsys.readouterr().out


def test_a_plan_is_a_function_of_its_seed():
    plans = [Plan.draw(seed, len(PROBLEMS)) for seed in range(200)]
    assert plans == [Plan.draw(seed, len(PROBLEMS)) for seed in range(200)]
    assert {kind for plan in plans for kind in plan.rates} == set(KINDS)
    assert max(plan.budget for plan in plans) * 20 < MOST_EVENTS


def test_a_disk_keeps_through_a_loss_of_power_what_was_synced_and_maybe_more():
    found = Counter()
    for seed in range(300):
        disk, file, target = Disk(), File(1, bytearray(b"first")), f"{HOME}/a"
        disk.change(name=f"{HOME}/temporary", file=file)
        file.safe = bytes(file.data)
        disk.change(remove=f"{HOME}/temporary", name=target, file=file)
        disk.sync(HOME)
        new = File(2, bytearray(b"second"))
        disk.change(name=target, file=new)
        disk.lose_power(random.Random(seed))
        found[bytes(disk.names[target].data)] += 1
        assert set(disk.names) == {target}
    assert found.keys() >= {b"first", b"second", b"", b"sec\0\0\0"}
