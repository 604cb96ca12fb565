"""`dbp inspect`: what is in a table, and what could be learnt from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dbp.cli.options import Json, TablePath
from dbp.cli.output import Mode, Output, clean, talk

if TYPE_CHECKING:
    from dbp.data.profile import ColumnProfile, Profile
    from dbp.data.suggestion import Suggestion

TargetColumn = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="COLUMN[,COLUMN]",
        help="The column to predict, or several: adds memory and a job file.",
        show_default=False,
    ),
]
Rows = Annotated[
    int | None, typer.Option("--rows", metavar="N", min=1, help="Look at the first N rows only.", show_default=False)
]
WORKERS = (1, 2, 4, 8)


def inspect(table: TablePath, target: TargetColumn = None, rows: Rows = None, json: Json = False) -> None:
    """Show what is in a table: columns, types, missing values, ranges, classes."""
    from dbp.cli.suggested_job import suggested_job
    from dbp.data.suggestion import likely_targets, named_targets, remarks, suggest

    output = Output(json=json)
    profile = looked_at(table, rows)
    targets = () if target is None else named_targets(target, profile)
    suggestion = suggest(profile, targets) if targets else None
    memory = {} if suggestion is None else memory_per_worker(table, suggestion)
    job = None if suggestion is None else suggested_job(job_name(table), table, suggestion)
    said = remarks(profile, targets)
    if output.mode is Mode.JSON:
        columns = [column.to_json() for column in profile.columns]
        found = {"table": profile.path, "rows": profile.table_rows, "rows_looked_at": profile.rows, "columns": columns}
        output.json({**found, "remarks": said, "memory_per_worker": memory, "job": job})
        return
    headings = ["COLUMN", "TYPE", "MISSING", "DISTINCT", "FROM", "TO", "MEAN", "MOST FREQUENT"]
    output.rows(headings, [_row(column) for column in profile.columns])
    output.text(f"\n{profile.table_rows:,} rows, {len(profile.columns)} columns")
    if profile.rows < profile.table_rows:
        output.text(f"looked at: the first {profile.rows:,} rows")
    for text in said:
        output.text(f"- {text}")
    if job is None:
        likely = likely_targets([column.name for column in profile.columns])[0]
        talk(f"next: dbp inspect {clean(table)} --target {clean(likely)}   (memory, and a job file)")
        return
    shown = ", ".join(f"{workers}: {size / 2**20:,.0f} MiB" for workers, size in memory.items())
    output.text(f"\nmemory per worker, at most, by the number of workers: {shown}")
    output.text(f"\njob file (dbp init --from {table} --target {target} writes it):\n\n{job}")


def looked_at(table: str, rows: int | None = None) -> Profile:
    """Return a table's profile; on a terminal a bar shows how far it is."""
    from dbp.cli.progress import on_a_live_terminal, rows_progress
    from dbp.data.open_table import open_table
    from dbp.data.profile import profile_table

    opened = open_table(table)
    with rows_progress("looking at the columns", on_a_live_terminal()) as (progress, _):
        return profile_table(opened, rows, progress or (lambda done, of: None))


def memory_per_worker(table: str, suggestion: Suggestion) -> dict[int, int]:
    """Return a bound on the bytes that each worker needs, for some numbers of workers, for the suggested job."""
    from dbp.cli.suggested_job import suggested_job
    from dbp.jobs.job import Job
    from dbp.workers.memory_check import need_of
    from dbp.workers.preparation import open_dataset, raw_workload

    job = Job.from_text(suggested_job("inspected", table, suggestion), source="the suggested job")
    dataset = open_dataset(job)
    raw = raw_workload(job, dataset)
    return {
        workers: need_of(job, dataset, raw, workers).most for workers in WORKERS if workers <= dataset.training_rows
    }


def job_name(table: str) -> str:
    """Return a job's name for a table."""
    import re

    stem = Path(table.rstrip("/")).name.split(".")[0].strip("*")
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:40]
    return word or "job"


def _row(column: ColumnProfile) -> list[object]:
    if column.kind == "date":
        low: object = column.earliest
        high: object = column.latest
    elif column.kind == "number" and column.present > column.infinite:
        low, high = column.minimum, column.maximum
    else:
        low = high = None
    numbers = column.kind in ("number", "truth") and column.present > column.infinite
    distinct = column.distinct if column.distinct is not None else "many"
    common = "" if column.kind not in ("text", "truth") else ", ".join(_cell(*each) for each in column.frequent(3))
    return [
        column.name,
        column.type,
        column.missing,
        distinct,
        low,
        high,
        column.mean if numbers else None,
        common or None,
    ]


def _cell(value: object, count: int) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{text[:20]} ({count:,})"
