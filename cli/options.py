"""Options that several commands share, spelt once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job file (YAML).", show_default=False)]
JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="A job id below the storage folder, or a job directory.", show_default=False)
]
JobNames = Annotated[
    list[str], typer.Argument(metavar="JOB...", help="Job ids below the storage folder, or job directories.", show_default=False)
]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model file, a job directory or a job id.", show_default=False)
]
TablePath = Annotated[
    Path, typer.Argument(metavar="TABLE", help="The table: .parquet, .csv or .npz.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace a value of the job, e.g. training.max_steps=50; may be repeated.", show_default=False
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", help="How many worker processes; 0: in this process. Default: the job's.", show_default=False),
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="ADDRESS", help="A running Ray cluster to use; default: a Ray of our own.", show_default=False),
]
Storage = Annotated[
    str, typer.Option("--storage", metavar="FOLDER", help="The folder that holds the job directories.")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; warnings and errors only.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]

DEFAULT_STORAGE = "runs"
