"""The runs of a job with a sweep or restarts, as the commands show them: a table with the best first, or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dbp.cli.output import Output
from dbp.cli.progress import duration
from dbp.jobs.sweep import spell
from dbp.jobs.sweep_table import MemberResult, best_of, ranked
from dbp.storage.uris import below


def show_runs(results: Sequence[MemberResult], output: Output) -> None:
    """Write the table: a row per run, the best first and marked."""
    best = best_of(results)
    keys = list(dict.fromkeys(key for result in results for key in result.changes))
    measures = [
        name
        for name in ("loss", "accuracy")
        if any(result.validation is not None and name in result.validation for result in results)
    ]
    headings = [
        "RUN",
        *keys,
        "START",
        "STATE",
        "STEPS",
        "LOSS",
        *(f"VALIDATION {name.upper()}" for name in measures),
        "TIME",
    ]
    rows = []
    for result in ranked(results):
        number = f"{result.number} (best)" if best is not None and result.number == best.number else f"{result.number}"
        values = [spell(result.changes[key]) for key in keys]
        measured = [(result.validation or {}).get(name) for name in measures]
        rows.append(
            [number, *values, result.seed, result.state, result.steps, result.loss, *measured, duration(result.seconds)]
        )
    output.rows(headings, rows)


def runs_json(results: Sequence[MemberResult], directory: Path | str) -> dict[str, object]:
    """Return `best` and `members` for `--json`, with whole paths."""
    members = [{**asdict(result), "directory": below(directory, result.directory)} for result in results]
    best = best_of(results)
    return {
        "best": next((each for each in members if best and each["number"] == best.number), None),
        "members": members,
    }
