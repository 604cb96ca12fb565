"""`dbp evaluate`: how well a model does on a table that has the target."""

from __future__ import annotations

from dbp.cli.jobs import open_model
from dbp.cli.options import DEFAULT_STORAGE, Json, ModelName, Storage, TablePath
from dbp.cli.output import Mode, Output


def evaluate(model: ModelName, table: TablePath, storage: Storage = DEFAULT_STORAGE, json: Json = False) -> None:
    """Measure a model on a table that has the target."""
    metrics = open_model(model, storage).evaluate(table)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json(metrics)
    else:
        output.fields({name.replace("_", " "): value for name, value in metrics.items() if not isinstance(value, list)})
