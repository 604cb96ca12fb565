"""Many schedules: run, counted, and the planted bugs looked for."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

from simulation.mutants import Mutant
from simulation.plan import Plan
from simulation.problems import PROBLEMS, undisturbed
from simulation.schedule import Result, run_seed
from simulation.workers import Sums

CHUNK = 100


class Runner:
    """Runs seeds one after the other; what was summed for one serves the others."""

    def __init__(self) -> None:
        for number in range(len(PROBLEMS)):
            undisturbed(number)  # with the code as it is, before any bug is planted
        self._sums: dict[int, Sums] = {}

    def run(self, seed: int, keep_lines: bool = False, plan: Plan | None = None) -> Result:
        """Return how a seed's schedule ends."""
        plan = plan or Plan.draw(seed, len(PROBLEMS))
        return run_seed(seed, self._sums.setdefault(plan.problem, {}), keep_lines, plan)


@dataclass
class Tally:
    """What some seeds came to."""

    schedules: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    probes: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)
    virtual_seconds: float = 0.0
    attempts: int = 0
    events: int = 0
    traces: dict[int, str] = field(default_factory=dict)  # by seed

    def add(self, result: Result) -> None:
        """Count one schedule."""
        self.schedules += 1
        self.outcomes[result.outcome] += 1
        self.probes.update(result.world.probes)
        self.virtual_seconds += result.world.clock.now
        self.attempts += result.attempts
        self.events += result.world.events
        self.traces[result.seed] = result.world.trace_sha256
        if result.violated:
            self.violations.append((result.seed, result.violation))

    def merge(self, other: Tally) -> None:
        """Count another's schedules, too."""
        self.schedules += other.schedules
        self.outcomes.update(other.outcomes)
        self.probes.update(other.probes)
        self.violations += other.violations
        self.virtual_seconds += other.virtual_seconds
        self.attempts += other.attempts
        self.events += other.events
        self.traces.update(other.traces)

    @property
    def trace_sha256(self) -> str:
        """The digest of all timelines, by seed."""
        return hashlib.sha256("".join(self.traces[seed] for seed in sorted(self.traces)).encode()).hexdigest()


_runner: Runner | None = None


def tally(seeds: Iterable[int]) -> Tally:
    """Run seeds in this process."""
    global _runner
    _runner = _runner or Runner()
    total = Tally()
    for seed in seeds:
        total.add(_runner.run(seed))
    return total


def tallies(first: int, count: int, processes: int) -> Iterator[Tally]:
    """Run seeds, some at a time, in several processes; their tallies as they come."""
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    if processes == 1:
        yield from map(tally, chunks)
        return
    with ProcessPoolExecutor(processes) as executor:
        yield from executor.map(tally, chunks)


def smallest(plan: Plan, runner: Runner) -> Plan:
    """Return a plan with as few kinds of faults, and as few faults, as still make for a violation."""

    def fails(candidate: Plan) -> bool:
        return runner.run(candidate.seed, plan=candidate).violated

    for kind in sorted(plan.rates):
        if fails(candidate := plan.without(kind)):
            plan = candidate
    for budget in range(1, min(plan.budget, 40)):
        if fails(candidate := replace(plan, budget=budget)):
            return candidate
    return plan


@dataclass(frozen=True)
class Found:
    """How a planted bug was found: the first seed, by what, and after how long."""

    mutant: Mutant
    seed: int | None
    violation: str
    seconds: float


def hunt(mutant: Mutant, seeds: Iterable[int]) -> Found:
    """Plant a bug and run seeds until one finds it."""
    runner, began = Runner(), time.perf_counter()
    with mutant.planted():
        for seed in seeds:
            result = runner.run(seed)
            if result.violated:
                return Found(mutant, seed, result.violation, time.perf_counter() - began)
    return Found(mutant, None, "", time.perf_counter() - began)
