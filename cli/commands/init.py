"""`dbp init`: write a commented job file to start from."""

from __future__ import annotations

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
TaskOption = Annotated[Task, typer.Option("--task", help="What the network learns: a class, or a number.")]


def init(target: Target = Path("."), task: TaskOption = "classification", force: Force = False) -> None:
    """Write a commented job file to start from."""
    from dbp.storage.atomic_files import storage_error, write_text

    file = target if target.suffix in (".yaml", ".yml") and not target.is_dir() else target / "job.yaml"
    if file.exists() and not force:
        raise InputError(f"{file}: exists already; expected a new file. Give another name, or --force to replace it")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error("be made", file.parent, error) from error
    shown = shlex.quote(clean(file))
    write_text(file, job_template(task, _name(file), shown))
    Output().text(clean(file))
    talk(f"next: write your table and its target column under `data`, then: dbp validate {shown}")


def _name(file: Path) -> str:
    """Name the job like its file, or like its folder where the file has the usual name."""
    from dbp.jobs.strict_yaml import plain_scalar

    word = file.stem if file.stem != "job" else file.resolve().parent.name
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", word).strip("-._")[:40]
    # A folder called 2026 or null: the word alone would be no text in YAML.
    return word if isinstance(plain_scalar(word), str) and word else f"job-{word}".rstrip("-")
