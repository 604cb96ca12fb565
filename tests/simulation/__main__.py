"""The command line of the simulation; see the package."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

from simulation.campaign import Runner, Tally, hunt, smallest, tallies
from simulation.mutants import MUTANTS
from simulation.plan import Plan
from simulation.probes import EXPECTED
from simulation.problems import PROBLEMS

PAGE = Path(__file__).parents[2] / "docs" / "simulation.md"
ENOUGH_FOR_PROBES = 10_000  # schedules; with fewer a rare situation may be missing by chance


def main() -> int:
    """Run what the arguments ask for; 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many schedules to run (10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--processes", type=int, default=2, help="how many processes run them (2)")
    parser.add_argument("--seed", type=int, help="run this one schedule only")
    parser.add_argument("--trace", action="store_true", help="with --seed: tell all that happened")
    parser.add_argument("--mutants", action="store_true", help="plant bugs, and say which seed finds each")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/simulation.md")
    options = parser.parse_args()
    if options.seed is not None:
        return _one(options.seed, options.trace)
    if options.mutants:
        return _mutants(options.seeds, options.write)
    return _many(options.first, options.seeds, options.processes, options.write)


def _one(seed: int, trace: bool) -> int:
    runner = Runner()
    result = runner.run(seed, keep_lines=trace)
    if result.violated:
        plan = smallest(Plan.draw(seed, len(PROBLEMS)), runner)
        result = runner.run(seed, keep_lines=trace, plan=plan)
        print(f"the smallest plan of seed {seed} that goes wrong: {PROBLEMS[plan.problem].name}; {plan}")
    print("\n".join([*result.world.lines, f"seed {seed}: {result.violation or result.outcome}"]))
    print(f"{result.attempts} attempts, {result.world.events} events; timeline {result.world.trace_sha256}")
    return int(result.violated)


def _many(first: int, count: int, processes: int, write: bool) -> int:
    began, total = time.perf_counter(), Tally()
    for part in tallies(first, count, processes):
        total.merge(part)
        for seed, violation in part.violations:
            print(f"seed {seed}: {violation}\n  replay: make simulate SEED={seed}", flush=True)
    seconds = time.perf_counter() - began
    text = _report(total, first, seconds, processes)
    print(text)
    missing = [name for name in EXPECTED if not total.probes[name]] if count >= ENOUGH_FOR_PROBES else []
    for name in missing:
        print(f"never happened: {name}")
    if write:
        _put("outcomes", text)
    return int(bool(total.violations or missing))


def _report(total: Tally, first: int, seconds: float, processes: int) -> str:
    rate = total.schedules / seconds
    lines = [
        f"Seeds {first} to {first + total.schedules - 1}: {total.schedules:,} schedules with {total.attempts:,} attempts, "
        f"{total.events:,} events and {total.virtual_seconds:,.0f} virtual seconds, in {seconds:.0f} s by {processes} "
        f"process{'es' if processes > 1 else ''} ({rate:.0f} a second). Digest of all timelines: `{total.trace_sha256[:16]}`.",
        "",
        "| Outcome | Schedules |",
        "|---|---|",
        *(f"| {name} | {hits:,} |" for name, hits in total.outcomes.most_common()),
        "",
        "| Situation | Times |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {hits:,} |" for name, hits in sorted(total.probes.items())),
    ]
    return "\n".join(lines)


def _mutants(seeds: int, write: bool) -> int:
    rows, missed = [], 0
    for mutant in MUTANTS:
        found = hunt(mutant, range(seeds))
        missed += found.seed is None
        print(f"{'-' if found.seed is None else found.seed!s:>6} {found.seconds:6.1f} s  {mutant.name}", flush=True)
        where = mutant.where.rpartition(":")[2]
        rows.append(f"| {mutant.name} | `{where}` | {found.seed} | {_short(found.violation)} |")
    print(f"{len(MUTANTS) - missed} of {len(MUTANTS)} planted bugs found within {seeds:,} seeds")
    if write:
        head = ["| Planted bug | In | Found by seed | As |", "|---|---|---|---|"]
        _put("mutants", "\n".join([*head, *rows]))
    return int(missed > 0)


def _short(violation: str) -> str:
    text = " ".join(violation.split()).replace("|", "/").replace("/job/checkpoints/", "")
    return text if len(text) <= 90 else text[:87] + "..."


def _put(name: str, text: str) -> None:
    """Replace what stands between a table's marks on the page."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    page = PAGE.read_text()
    page = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + text + end, page, flags=re.DOTALL)
    PAGE.write_text(page)


if __name__ == "__main__":
    sys.exit(main())
