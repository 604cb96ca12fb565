"""`dbp predict`: a table's rows in their order, with predictions as further columns."""

from __future__ import annotations

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
    from dbp.cli.prediction import Predictions, check_place, print_predictions, write_predictions
    from dbp.data.open_table import open_table

    if out is not None:
        check_place(out, table, force)
    elif json:
        raise InputError("--json: the table itself goes to standard output; say where it goes with -o FILE")
    predictions = Predictions.of(open_model(model, Path(storage)), open_table(str(table)), probabilities)
    if out is None:
        with writing_results():
            print_predictions(predictions, sys.stdout.buffer)
        return
    rows = write_predictions(predictions, out)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json({"output": out, "rows": rows, "columns": predictions.names})
    else:
        output.text(clean(out))
        first, *others = predictions.names
        also = f" and {others[0]}" + (f" ... {others[-1]}" if len(others) > 1 else "") if others else ""
        talk(f"{rows:,} rows; new columns: {first}{also}")
