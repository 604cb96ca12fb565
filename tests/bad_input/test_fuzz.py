"""Files from strangers: whatever they hold, there is a value or one of the documented errors, and nothing else is touched.

The files that dbp checksums are made with the right checksum: what is wrong is what they say.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_jobs import small_job

from dbp import Job, load_model
from dbp.errors import CheckpointError, DbpError, JobDirectoryError, JobFileError, ModelFileError
from dbp.jobs.metrics import read_metrics
from dbp.jobs.status import read_status
from dbp.jobs.sweep_table import read_table
from dbp.storage.array_file import read_arrays, write_arrays
from dbp.storage.checkpoints import Checkpoint, CheckpointStore
from dbp.training.coordinator import Progress
from dbp.workers.job_checkpoints import JobCheckpoints, Origin
from dbp.workers.train import train

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 2**63, 1e308])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
arrays = st.sampled_from(("float32", "float64", "int64", "int32", "uint8", "bool")).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished job whose optimiser has a state and whose memory has a best."""
    place = tmp_path_factory.mktemp("fuzz")
    job = small_job(place, "training.max_steps=6", "stopping={patience: 50, keep: best}")
    return Path(train(job, job_id="a").directory)


def everything(home: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in home.parent.rglob("*") if path.is_file()}


def changed(value: Any, edits: list[tuple[int, Any]]) -> Any:
    """Replace some of the values in JSON by others, chosen by numbers."""
    for where, new in edits:
        path: list[Any] = []
        inner = value
        while isinstance(inner, dict | list) and inner:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            path.append((inner, keys[where % len(keys)]))
            inner = inner[path[-1][1]]
            if where // 7 % 3 == 0:
                break
        if path:
            path[-1][0][path[-1][1]] = new
    return value


def refusal(kind: type[DbpError], call: Callable[[], object]) -> str | None:
    """Return what a refusal says, None where there is none; any other error is one of the test's."""
    try:
        call()
    except kind as error:
        return str(error)
    return None


edits = st.lists(st.tuples(st.integers(0, 400), json_values), max_size=3)
other_arrays = st.dictionaries(st.integers(0, 30), arrays | st.none(), max_size=3)


def with_other(known: dict[str, Any], others: dict[int, Any]) -> dict[str, Any]:
    found = dict(known)
    for number, array in others.items():
        name = sorted(known)[number % len(known)]
        found = {**found, name: array} if array is not None else {k: v for k, v in found.items() if k != name}
    return found


@settings(max_examples=150, deadline=None)
@given(edits=edits, others=other_arrays)
def test_a_checkpoint_that_says_anything(edits: Any, others: Any, home: Path) -> None:
    """Read, its origin, and its progress: CheckpointError, or arrays that training can go on with."""
    real = CheckpointStore(home / "checkpoints").newest(lambda path, reason: None)
    assert real is not None
    start = real.arrays["parameters"]
    first = Progress(0, start, {"velocity": np.zeros_like(start)})
    assert JobCheckpoints.progress_of(real, first).step == 6
    before = everything(home)
    store = CheckpointStore(home.parent.parent / "other")
    metadata = changed({**real.metadata}, edits)
    store.save(Checkpoint(6, with_other(dict(real.arrays), others), metadata))
    found = store.load(6)
    told = [
        refusal(CheckpointError, lambda: Origin.of(found)),
        refusal(CheckpointError, lambda: JobCheckpoints.progress_of(found, first)),
    ]
    assert all(text is None or text.startswith("checkpoint of step 6: ") for text in told)
    if told[1] is None:
        progress = JobCheckpoints.progress_of(found, first)
        assert progress.parameters.shape == progress.state["velocity"].shape == start.shape
    assert everything(home) == before


@settings(max_examples=150, deadline=None)
@given(edits=edits, others=other_arrays)
def test_a_model_that_says_anything(edits: Any, others: Any, home: Path) -> None:
    """ModelFileError that names the file, or a model that predicts."""
    known, metadata = read_arrays(home / "model.safetensors")
    path = home.parent.parent / "m.safetensors"
    write_arrays(path, with_other(known, others), changed(dict(metadata), edits))
    told = refusal(ModelFileError, lambda: load_model(path))
    if told is None:
        model = load_model(path)
        model.network.forward(model.parameters, np.zeros((2, model.network.sizes[0]), model.parameters.dtype))
    else:
        assert told.startswith(f"{path}: ")


texts = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.text(max_size=5) | st.sampled_from("{}[]:,&*!|>-?%@`\t\n'\""),
        st.integers(0, 6),
    ),
    max_size=4,
)


@settings(max_examples=250, deadline=None)
@given(edits=texts)
def test_a_job_file_that_says_anything(edits: Any, home: Path) -> None:
    """JobFileError with every problem, or a job; reading it opens nothing that it names."""
    text = (home / "job.yaml").read_text()
    for share, new, length in edits:
        place = int(share * len(text))
        text = text[:place] + new + text[place + length :]
    before = everything(home)
    if refusal(JobFileError, lambda: Job.from_text(text, folder=home)) is None:
        job = Job.from_text(text, folder=home)
        assert Job.from_text(job.to_yaml(), folder=home) == job
    assert everything(home) == before


READERS: dict[str, tuple[Callable[[Path], object], type[DbpError]]] = {
    "status.json": (read_status, JobDirectoryError),
    "sweep.json": (read_table, JobDirectoryError),
    "metrics.jsonl": (read_metrics, DbpError),
}


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(READERS)),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=5), st.integers(0, 6)), max_size=4),
)
def test_records_that_say_anything(name: str, edits: Any, home: Path) -> None:
    source = home / name
    data = bytearray(source.read_bytes() if source.exists() else b'{"best": null, "members": [{"number": 1}]}')
    for share, new, length in edits:
        place = int(share * len(data))
        data[place : place + length] = new
    path = home.parent.parent / f"other-{name}"
    path.write_bytes(data)
    reader, error = READERS[name]
    told = refusal(error, lambda: reader(path))
    assert told is None or told.startswith(f"{path}: ")
    os.unlink(path)
