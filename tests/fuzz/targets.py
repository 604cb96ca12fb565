"""What is fuzzed. A target takes bytes and gives them to a reader as a stranger's file.

Anything but a value or a documented error is raised. Files that dbp seals with a checksum get the right one: what is wrong is what
they say.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from dbp import Job, load_model
from dbp.errors import CheckpointError, DbpError, InputError, JobDirectoryError, JobFileError, ModelFileError
from dbp.jobs.metrics import read_metrics
from dbp.jobs.status import read_status
from dbp.jobs.strict_yaml import parse_yaml
from dbp.storage.array_file import read_arrays
from dbp.storage.checkpoints import CheckpointStore
from dbp.training.coordinator import Progress
from dbp.workers.job_checkpoints import JobCheckpoints, Origin

_SHA256 = re.compile(rb'("sha256":")([0-9a-f]{64})(")')
_FOLDER = Path(tempfile.mkdtemp(prefix="dbp-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
STEP = 6


def job_file(data: bytes) -> None:
    """A job file."""
    text = data.decode("utf-8", "surrogateescape")
    parse_yaml(text)
    with suppress(JobFileError):
        job = Job.from_text(text, folder=_FOLDER)
        assert Job.from_text(job.to_yaml(), folder=_FOLDER) == job


def sealed(data: bytes) -> bytes:
    """Return the bytes with the checksum that they should have, if there is a place for it."""
    empty = _SHA256.sub(rb"\g<1>" + b"0" * 64 + rb"\g<3>", data, count=1)
    return _SHA256.sub(rb"\g<1>" + hashlib.sha256(empty).hexdigest().encode() + rb"\g<3>", empty, count=1)


def array_file(data: bytes) -> None:
    """A file of arrays, as it is."""
    path = _written("a.safetensors", data)
    with suppress(InputError):
        read_arrays(path)


def checkpoint(data: bytes) -> None:
    """A checkpoint, up to where training would go on from it."""
    _written("step-00000006.safetensors", sealed(data))
    start = np.zeros(9)  # of the network of the seed
    with suppress(CheckpointError):
        found = CheckpointStore(_FOLDER).load(STEP)
        Origin.of(found)
        first = Progress(0, start, {"velocity": start})
        progress = JobCheckpoints.progress_of(found, first)
        assert progress.parameters.shape == start.shape


def model(data: bytes) -> None:
    """A model, up to a prediction."""
    path = _written("model.safetensors", sealed(data))
    with suppress(ModelFileError):
        found = load_model(path)
        found.network.forward(found.parameters, np.zeros((1, found.network.sizes[0]), found.parameters.dtype))


def metrics(data: bytes) -> None:
    """The lines that a run leaves."""
    with suppress(DbpError):
        read_metrics(_written("metrics.jsonl", data))


def status(data: bytes) -> None:
    """What a run says of itself."""
    with suppress(JobDirectoryError):
        read_status(_written("status.json", data))


def _written(name: str, data: bytes) -> Path:
    path = _FOLDER / name
    path.write_bytes(data)
    return path


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (job_file, array_file, checkpoint, model, metrics, status)
}
SEEDS = {
    "job_file": "job.yaml",
    "array_file": "model.safetensors",
    "checkpoint": f"checkpoints/step-{STEP:08d}.safetensors",
    "model": "model.safetensors",
    "metrics": "metrics.jsonl",
    "status": "status.json",
}
