"""dbp: distributed batch training of feed-forward neural networks, with the same bits for any number of workers.

    import dbp
    result = dbp.train(dbp.Job.from_file("job.yaml"))
    model = dbp.load_model("model.safetensors")
    job_id = dbp.Client().submit("job.yaml")

Importing dbp loads neither Ray nor anything of the command line. The names below are looked up when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbp.errors import DbpError, InputError, JobFailedError, ServiceError
    from dbp.jobs.job import Job
    from dbp.models.model import Model, load_model
    from dbp.network.network import Network
    from dbp.sums.gradient import error_signals, gradient_sum
    from dbp.sums.partial_sum import PartialSum
    from dbp.training.callbacks import Callback
    from dbp.workers.client import Client
    from dbp.workers.scoring import evaluate, predict
    from dbp.workers.train import Result, resume, train

__version__ = "0.1.0"

# `Client`, `evaluate`, `predict`, `resume` and `train` live above the library, in dbp.workers: this table looks them up (and
# `dbp.sklearn` its own).
_HOMES = {
    "Callback": "dbp.training.callbacks",
    "Client": "dbp.workers.client",
    "DbpError": "dbp.errors",
    "InputError": "dbp.errors",
    "Job": "dbp.jobs.job",
    "JobFailedError": "dbp.errors",
    "Model": "dbp.models.model",
    "Network": "dbp.network.network",
    "PartialSum": "dbp.sums.partial_sum",
    "Result": "dbp.workers.train",
    "ServiceError": "dbp.errors",
    "error_signals": "dbp.sums.gradient",
    "evaluate": "dbp.workers.scoring",
    "gradient_sum": "dbp.sums.gradient",
    "load_model": "dbp.models.model",
    "predict": "dbp.workers.scoring",
    "resume": "dbp.workers.train",
    "train": "dbp.workers.train",
}

__all__ = [
    "Callback",
    "Client",
    "DbpError",
    "InputError",
    "Job",
    "JobFailedError",
    "Model",
    "Network",
    "PartialSum",
    "Result",
    "ServiceError",
    "__version__",
    "error_signals",
    "evaluate",
    "gradient_sum",
    "load_model",
    "predict",
    "resume",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'dbp' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
