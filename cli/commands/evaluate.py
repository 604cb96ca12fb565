"""`dbp evaluate`: how well a model does on a table that has the target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from dbp.cli.jobs import open_model
from dbp.cli.options import DEFAULT_STORAGE, Json, ModelName, Storage, TablePath
from dbp.cli.output import Mode, Output, clean

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
    storage: Storage = DEFAULT_STORAGE,
    json: Json = False,
) -> None:
    """Measure a model on a table that has the target."""
    from dbp.cli.measures import show
    from dbp.cli.pictures import check_folder, draw_pictures

    if pictures is not None:
        check_folder(pictures)
    found = open_model(model, storage).evaluate(table, weight)
    files = [] if pictures is None else draw_pictures(found, pictures, f"{model} on {Path(table).name}")
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json({**found, "pictures": files} if files else found)
        return
    show(found, output)
    for file in files:
        output.text(clean(file))
