"""Callbacks that hand a job's numbers to tools people use: CSV files, TensorBoard, MLflow."""

from dbp.loggers.csv_logger import CsvLogger
from dbp.loggers.mlflow_logger import MlflowLogger
from dbp.loggers.specification import open_logger
from dbp.loggers.tensorboard_logger import TensorBoardLogger

__all__ = ["CsvLogger", "MlflowLogger", "TensorBoardLogger", "open_logger"]
