"""`dbp predict`: a table's rows in their order, with predictions as further columns."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dbp.cli.jobs import open_model
from dbp.cli.options import DEFAULT_STORAGE, Force, Json, ModelName, Storage, TablePath
from dbp.cli.output import Mode, Output, clean, talk, writing_results
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
    force: Force = False,
    storage: Storage = DEFAULT_STORAGE,
    json: Json = False,
) -> None:
    """Predict every row of a table.

    The table's rows and columns stay as they are; predictions are added as further columns.
    """
    from dbp.data.open_table import open_table
    from dbp.models.prediction import Predictions, print_predictions, write_predictions

    if out is not None:
        _check_place(out, table, force)
    elif json:
        raise InputError("--json: the table itself goes to standard output; say where it goes with -o FILE")
    predictions = Predictions.of(open_model(model, storage), open_table(table), probabilities)
    if out is None:
        with writing_results():
            print_predictions(predictions, sys.stdout.buffer, _warn)
        return
    rows = write_predictions(predictions, out, _warn)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json({"output": out, "rows": rows, "columns": predictions.names})
    else:
        output.text(clean(out))
        first, *others = predictions.names
        also = f" and {others[0]}" + (f" ... {others[-1]}" if len(others) > 1 else "") if others else ""
        talk(f"{rows:,} rows; new columns: {first}{also}")


def _warn(text: str) -> None:
    talk(f"warning: {text}")


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
