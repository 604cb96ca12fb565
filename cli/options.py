"""Options that several commands share, spelt once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from dbp.errors import InputError

DEFAULT_STORAGE = "runs"

JobFile = Annotated[Path, Argument(metavar="JOB", help="The job file (YAML).", show_default=False)]
JobName = Annotated[str, Argument(metavar="JOB", help="A job id, a job directory or its URI.", show_default=False)]
JobNames = Annotated[list[str], Argument(metavar="JOB", help="Job ids or job directories.", show_default=False)]
ModelName = Annotated[
    str, Argument(metavar="MODEL", help="A model file, a job directory or a job id; URIs too.", show_default=False)
]
TablePath = Annotated[
    str,
    Argument(
        metavar="TABLE",
        help="A table, a path or URI: .parquet, .csv, .arrow, ..., or a folder.",
        show_default=False,
    ),
]

Overrides = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="Replace a value of the job; may be repeated.", show_default=False),
]
Logs = Annotated[
    list[str] | None,
    Option(
        "--log",
        metavar="WHERE",
        help="Write the metrics there, too: csv:FILE, tensorboard:FOLDER or mlflow:URI; may be repeated.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    Option(
        "--workers", metavar="N", help="Worker processes; 0: none but this one. Default: the job's.", show_default=False
    ),
]
Threads = Annotated[
    int | None,
    Option(
        "--threads",
        metavar="N",
        help="No worker processes, but so many threads of this one: the fastest on one machine.",
        show_default=False,
    ),
]
ScoringWorkers = Annotated[
    int, Option("--workers", metavar="N", min=0, help="Ray workers that share the rows; 0: this process alone.")
]
Address = Annotated[
    str | None,
    Option(
        "--address", metavar="ADDRESS", help="A running Ray cluster. Default: a Ray of our own.", show_default=False
    ),
]
ServiceAddress = Annotated[
    str | None,
    Option(
        "--address",
        metavar="ADDRESS",
        help="The service: http://host:8265. Default: DBP_ADDRESS, the configuration file, or the service of `dbp up`.",
        show_default=False,
    ),
]
TokenFile = Annotated[
    Path | None,
    Option("--token-file", metavar="FILE", help="The file with the service's token.", show_default=False),
]
Insecure = Annotated[bool, Option("--insecure", help="Accept a service that asks for no token.")]
Follow = Annotated[bool, Option("--follow", help="Watch the job until it ends; Ctrl-C leaves it running.")]
Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask.")]
Storage = Annotated[
    str, Option("--storage", metavar="FOLDER", help="The folder or URI that holds the job directories.")
]
Json = Annotated[bool, Option("--json", help="Write JSON to standard output.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="No progress; warnings and errors only.")]
Force = Annotated[bool, Option("--force", help="Replace what exists.")]


def overrides_of_workers(workers: int | None, threads: int | None) -> list[str]:
    """Return `--workers` and `--threads` as overrides of a job. InputError for both."""
    if workers is not None and threads is not None:
        raise InputError("--workers and --threads: expected one of them: worker processes, or threads of this one")
    if threads is not None:
        return [f"workers={{threads: {threads}}}"]
    return [] if workers is None else [f"workers={workers}"]
