"""`dbp evaluate`: how well a model does on a table that has the target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from dbp.cli.jobs import open_model
from dbp.cli.options import DEFAULT_STORAGE, Address, Json, ModelName, Quiet, ScoringWorkers, Storage, TablePath
from dbp.cli.output import Mode, Output, clean
from dbp.cli.progress import rows_progress

Weight = Annotated[
    str | None,
    Option("--weight", metavar="COLUMN", help="How much each row counts. Default: all alike.", show_default=False),
]
Pictures = Annotated[
    Path | None,
    Option(
        "--pictures",
        metavar="FOLDER",
        help="Draw into this folder: confusion.png and calibration.png, or residuals.png.",
        show_default=False,
    ),
]


def evaluate(
    model: ModelName,
    table: TablePath,
    weight: Weight = None,
    pictures: Pictures = None,
    workers: ScoringWorkers = 0,
    address: Address = None,
    storage: Storage = DEFAULT_STORAGE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model on a table that has the target."""
    from dbp.cli.measures import show
    from dbp.cli.pictures import check_folder, draw_pictures
    from dbp.workers.scoring import evaluate

    if pictures is not None:
        check_folder(pictures)
    loaded = open_model(model, storage)
    with rows_progress("evaluating", not quiet) as (progress, warn):
        found = evaluate(loaded, table, weight=weight, workers=workers, address=address, progress=progress, warn=warn)
    files = [] if pictures is None else draw_pictures(found, pictures, f"{model} on {Path(table).name}")
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json({**found, "pictures": files} if files else found)
        return
    show(found, output)
    for file in files:
        output.text(clean(file))
