"""`dbp predict`: a table's rows in their order, with predictions as further columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from dbp.cli.jobs import open_model
from dbp.cli.options import (
    DEFAULT_STORAGE,
    Address,
    Force,
    Json,
    ModelName,
    Quiet,
    ScoringWorkers,
    Storage,
    TablePath,
)
from dbp.cli.output import Mode, Output, clean, talk, writing_results
from dbp.cli.progress import rows_progress
from dbp.errors import InputError

Out = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The table to write: .parquet or .csv. Default: CSV on standard output.",
        show_default=False,
    ),
]
Probabilities = Annotated[
    bool | None,
    typer.Option(
        "--probabilities/--no-probabilities",
        help="A column for each class with its probability. Default: where the model has them.",
        show_default=False,
    ),
]


def predict(
    model: ModelName,
    table: TablePath,
    out: Out = None,
    probabilities: Probabilities = None,
    workers: ScoringWorkers = 0,
    address: Address = None,
    force: Force = False,
    storage: Storage = DEFAULT_STORAGE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Predict every row of a table.

    The table's rows and columns stay as they are; predictions are added as further columns.
    """
    from dbp.workers.scoring import predict

    if out is not None:
        _check_place(out, table, force)
    elif json:
        raise InputError("--json: the table itself goes to standard output; say where it goes with -o FILE")
    loaded = open_model(model, storage)
    shows = not quiet and (out is not None or not sys.stdout.isatty())
    with _destination(out) as written, rows_progress("predicting", shows) as (progress, warn):
        rows, names = predict(
            loaded,
            table,
            written,
            probabilities=probabilities,
            workers=workers,
            address=address,
            progress=progress,
            warn=warn,
        )
    if out is None:
        return
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json({"output": out, "rows": rows, "columns": names})
    else:
        output.text(clean(out))
        first, *others = names
        also = f" and {others[0]}" + (f" ... {others[-1]}" if len(others) > 1 else "") if others else ""
        talk(f"{rows:,} rows; new columns: {first}{also}")


@contextmanager
def _destination(out: Path | None) -> Iterator[Path | IO[bytes]]:
    """Lend the file to write, or standard output for CSV; nothing else is printed there meanwhile."""
    if out is not None:
        yield out
        return
    with writing_results():
        yield sys.stdout.buffer


def _check_place(out: Path, table: str, force: bool) -> None:
    """Raise InputError when the predictions cannot be written to `out`, before anything is computed."""
    from dbp.models.prediction import ENDINGS
    from dbp.storage.uris import is_uri

    if is_uri(out):
        raise InputError(f"{out}: is a URI; expected a file of this machine for the predictions")
    if out.suffix.lower() not in ENDINGS:
        raise InputError(f"{out}: cannot tell the kind of table; expected a name that ends in {' or '.join(ENDINGS)}")
    if not out.exists():
        return
    if os.path.exists(table) and os.path.samefile(out, table):
        raise InputError(f"{out}: is the table that is read; expected another file for the predictions")
    if not force:
        raise InputError(f"{out}: exists already; expected a new file. Give another name, or --force to replace it")
