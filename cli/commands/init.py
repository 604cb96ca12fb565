"""`dbp init`: write a commented job file to start from."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from dbp.cli.options import Force
from dbp.cli.output import Output, clean, talk
from dbp.cli.template import Task, job_template
from dbp.errors import InputError

Target = Annotated[
    Path, typer.Argument(metavar="FOLDER|FILE", help="Where the job file goes.", show_default="job.yaml here")
]
TaskOption = Annotated[
    Task | None,
    typer.Option(
        "--task",
        help="What the network learns: a class, several labels, or numbers.",
        show_default="classification; with --from, what the column suggests",
    ),
]


FromTable = Annotated[
    str | None,
    typer.Option("--from", metavar="TABLE", help="Write a job for this table that runs at once.", show_default=False),
]
TargetColumn = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="COLUMN[,COLUMN]",
        help="With --from: the column to predict, or several.",
        show_default=False,
    ),
]


def init(
    target: Target = Path("."),
    table: FromTable = None,
    column: TargetColumn = None,
    task: TaskOption = None,
    force: Force = False,
) -> None:
    """Write a commented job file to start from, or, with --from, one for a table, ready to run."""
    from dbp.storage.atomic_files import storage_error, write_text

    file = target if target.suffix in (".yaml", ".yml") and not target.is_dir() else target / "job.yaml"
    if column is not None and table is None:
        raise InputError("--target: names a column of the table of --from; expected both, or neither")
    if file.exists() and not force:
        raise InputError(f"{file}: exists already; expected a new file. Give another name, or --force to replace it")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error("be made", file.parent, error) from error
    shown = shlex.quote(clean(file))
    if table is not None:
        write_text(file, _for_table(table, column, task, file))
        Output().text(clean(file))
        talk(f"next: look at it, then: dbp run {shown}")
        return
    write_text(file, job_template(task or "classification", _name(file), shown))
    Output().text(clean(file))
    talk(f"next: write your table and its target column under `data`, then: dbp validate {shown}")


def _for_table(table: str, column: str | None, task: Task | None, file: Path) -> str:
    """Return the job file for a table. InputError where the column is none of its, or can be no target."""
    from dbp.cli.commands.inspect import job_name, looked_at
    from dbp.cli.suggested_job import suggested_job
    from dbp.data.open_table import open_table
    from dbp.data.suggestion import likely_targets, named_targets, suggest

    if column is None:
        names = open_table(table).schema.names
        likely = " or ".join(map(repr, likely_targets(names)))
        raise InputError(
            f"--from {clean(table)}: which column is to be predicted? expected --target with one of: {', '.join(names[:12])}"
            f"{', ...' if len(names) > 12 else ''}; perhaps {likely}"
        )
    name = _name(file) if file.stem != "job" else job_name(table)
    profile = looked_at(table)
    return suggested_job(name, _path_in(table, file.parent), suggest(profile, named_targets(column, profile), task))


def _path_in(table: str, folder: Path) -> str:
    """Return a table's path as a job file in `folder` says it: relative paths there start at the file."""
    from dbp.storage.uris import is_uri

    if is_uri(table) or Path(table).is_absolute():
        return table
    return os.path.relpath(table, folder)


def _name(file: Path) -> str:
    """Name the job like its file, or like its folder where the file has the usual name."""
    from dbp.jobs.strict_yaml import plain_scalar

    word = file.stem if file.stem != "job" else file.resolve().parent.name
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", word).strip("-._")[:40]
    # A folder called 2026 or null: the word alone would be no text in YAML.
    return word if isinstance(plain_scalar(word), str) and word else f"job-{word}".rstrip("-")
