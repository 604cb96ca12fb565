"""A logger as it is spelt on the command line: ``csv:FILE``, ``tensorboard:FOLDER``, ``mlflow:URI``."""

from __future__ import annotations

from dbp.errors import InputError
from dbp.training.callbacks import Callback

SPELLINGS = "csv:FILE, tensorboard:FOLDER or mlflow:URI"


def open_logger(text: str, name: str = "dbp") -> Callback:
    """Return the logger that `text` spells; `name` is MLflow's experiment, the job's name. InputError where it cannot be made."""
    kind, colon, place = text.partition(":")
    if not colon or not place or kind not in ("csv", "tensorboard", "mlflow"):
        raise InputError(f"--log {text}: expected {SPELLINGS}")
    if kind == "csv":
        from dbp.loggers.csv_logger import CsvLogger

        return CsvLogger(place)
    if kind == "tensorboard":
        from dbp.loggers.tensorboard_logger import TensorBoardLogger

        return TensorBoardLogger(place)
    from dbp.loggers.mlflow_logger import MlflowLogger

    return MlflowLogger(name, place)
