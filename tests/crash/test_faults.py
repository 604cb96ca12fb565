"""Calls that fail: a full disk, a broken one, a read-only one, no permission, too many files, short writes, a slow disk."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.conftest import folder_in_memory
from crash.faults import Done, Fault, Faults
from small_jobs import small_job

from dbp.jobs.metrics import read_metrics
from dbp.jobs.status import read_status
from dbp.storage.atomic_files import remove_leftovers
from dbp.storage.checkpoints import CheckpointStore

ALL = os.environ.get("DBP_CRASH_STATES") == "all"
CODES = {
    errno.ENOSPC: "the disk is full",
    errno.EIO: "the device reported an input/output error",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EMFILE: "this process has too many open files",
}
STEPS = [1, 2, 3, 4]


def never(path: object, reason: str) -> None:
    raise AssertionError(f"{path}: {reason}")


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
def test_a_save_that_fails_at_any_call_costs_no_older_checkpoint(faults: Faults, memory: Path, forever: bool) -> None:
    """Each call in turn: in words, nothing torn, what was acknowledged is there, and the next save needs no help."""
    (memory / "whole").mkdir()
    calls = len(faults.save(memory / "whole" / "c", STEPS).calls)
    codes = itertools.cycle(CODES)
    for call in range(1, calls + 1):
        for code in CODES if ALL else [next(codes)]:
            (memory / "job").mkdir()
            done = faults.save(memory / "job" / "c", STEPS, Fault("fail", call, code=code, forever=forever))
            check_saves(memory / "job" / "c", done, CODES[code], forever)
            shutil.rmtree(memory / "job")


def check_saves(folder: Path, done: Done, words: str, forever: bool) -> None:
    lines = done.err.splitlines()
    acknowledged = [int(line) for line in done.out.split()]
    assert done.code == 0, done.err
    assert all(line.startswith(str(folder)) and words in line for line in lines), done.err
    assert len(acknowledged) + len(lines) == len(STEPS)
    store = CheckpointStore(folder, 2)
    if forever:
        remove_leftovers(folder)
    else:
        assert len(acknowledged) >= 3
    assert all(entry.valid for entry in store.listing())
    assert set(acknowledged[-2:]) <= set(store.steps())
    newest = store.newest(never)
    assert (newest.step if newest else 0) >= max(acknowledged, default=0)
    assert not folder.exists() or all(name.startswith("step-") for name in os.listdir(folder))


def test_short_writes_change_nothing(faults: Faults, memory: Path) -> None:
    """Every write takes half of what it is given, to the last byte."""
    done = faults.save(memory / "short", STEPS, Fault("short", 1, "write", forever=True))
    assert (done.out.split(), done.err) == (["1", "2", "3", "4"], "")
    assert done.calls.count("write") > 60
    faults.save(memory / "plain", STEPS)
    for step in (3, 4):
        name = CheckpointStore(memory).path(step).name
        assert (memory / "short" / name).read_bytes() == (memory / "plain" / name).read_bytes()


# ---- whole runs


@pytest.fixture(scope="module")
def job() -> Iterator[Path]:
    """Sixteen steps, a checkpoint every other one."""
    with folder_in_memory() as place:
        made = small_job(place, "training.max_steps=16", "checkpoint.every=2", "checkpoint.keep=2")
        (place / "job.yaml").write_text(made.to_yaml())
        (place / "runs").mkdir()
        yield place / "job.yaml"


@pytest.fixture(scope="module")
def whole(faults: Faults, job: Path) -> Done:
    """A run without faults."""
    return run(faults, job, "whole", Fault())


def run(faults: Faults, job: Path, name: str, fault: Fault) -> Done:
    runs = job.parent / "runs"
    return faults.dbp("run", job, "--id", name, "--storage", runs, "--json", "--quiet", below=runs, fault=fault)


def checked(
    faults: Faults, job: Path, name: str, done: Done, reference: str, may_leave_something: bool = False
) -> bool:
    """Whether a run ended well; if not, that it says so in words, and that a resume ends in the same bits."""
    assert "Traceback" not in done.err
    assert "this is a bug" not in done.err
    runs = job.parent / "runs"
    if done.code == 0:
        told = json.loads(done.out)
    else:
        assert done.code in (1, 2)
        assert sum(line.startswith(("error: ", "failed: ")) for line in done.err.splitlines()) == 1, done.err
        if not (runs / name / "job.yaml").exists():
            return False
        again = faults.dbp("resume", name, "--storage", runs, "--json", "--quiet", below=runs)
        assert again.code == 0, again.err
        told = json.loads(again.out)
    assert told["parameters_sha256"] == reference
    steps = [line["step"] for line in read_metrics(runs / name / "metrics.jsonl").steps]
    assert steps == list(range(1, 17))
    status = read_status(runs / name / "status.json")
    assert status is not None
    assert status.state == "SUCCEEDED"
    leftovers = [path for path in (runs / name).rglob("*") if path.name.startswith(".dbp-")]
    assert leftovers == [] or may_leave_something
    return done.code == 0


def test_a_call_that_fails_once_never_ends_training(faults: Faults, job: Path, whole: Done) -> None:
    """All along the run: once training has begun it goes on, to the same bits and with every step in its metrics."""
    reference = json.loads(whole.out)["parameters_sha256"]
    begun = whole.calls.index("fsync", len(whole.calls) // 3)
    codes, ended_well = list(CODES), 0
    points = range(1, len(whole.calls) + 1, 1 if ALL else 29)
    for number, call in enumerate(points):
        name = f"once-{call}"
        done = run(faults, job, name, Fault("fail", call, code=codes[number % len(codes)]))
        well = checked(faults, job, name, done, reference, whole.calls[call - 1] == "unlink")  # the next run removes it
        assert well or call < begun, done.err
        ended_well += well
    assert ended_well >= len(points) // 2
    if ALL:
        print(f"\n{len(whole.calls)} calls of a run: each failed once, {ended_well} of {len(points)} runs did not mind")


@pytest.mark.parametrize("kind", ["write", "fsync", "rename", "open"])
def test_a_disk_that_fails_for_ever_ends_the_run_clearly(faults: Faults, job: Path, whole: Done, kind: str) -> None:
    """From the middle of training on. Three checkpoints in a row; then one sentence: what, where, what is safe, what next."""
    reference = json.loads(whole.out)["parameters_sha256"]
    middle = whole.calls[: len(whole.calls) * 2 // 3].count(kind)
    code = {"write": errno.ENOSPC, "fsync": errno.EIO, "rename": errno.EROFS, "open": errno.EMFILE}[kind]
    done = run(faults, job, kind, Fault("fail", middle, kind, code, forever=True))
    assert done.code == 1
    (sentence,) = [line for line in done.err.splitlines() if line.startswith("failed: ")]
    for words in (
        str(job.parent / "runs" / kind),
        CODES[code],
        "checkpoints in a row failed",
        "is kept",
        "`dbp resume`",
    ):
        assert words in sentence
    assert sum("not written: " in line for line in done.err.splitlines()) == 2
    store = CheckpointStore(job.parent / "runs" / kind / "checkpoints")
    assert all(entry.valid for entry in store.listing())
    assert (
        f"of step {store.steps()[-1]} is kept" in sentence or kind == "fsync"
    )  # where it may be there, but was not acknowledged
    assert not checked(faults, job, kind, done, reference)


def test_a_model_that_cannot_be_written_fails_the_run(faults: Faults, job: Path, whole: Done) -> None:
    """The last calls of all: the checkpoint is there, the model is not; `dbp resume` writes it."""
    reference = json.loads(whole.out)["parameters_sha256"]
    renames = whole.calls.count("rename")
    found = set()
    for back in range(1, 3):
        name = f"late-{back}"
        done = run(faults, job, name, Fault("fail", renames - back, "rename", errno.ENOSPC, forever=True))
        assert done.code == 1
        found |= {word for word in ("model.safetensors", "status.json") if word in done.err and "failed: " in done.err}
        checked(faults, job, name, done, reference)
    assert found == {"model.safetensors", "status.json"}


def test_a_slow_disk_is_nothing_but_slow(faults: Faults, job: Path, whole: Done) -> None:
    reference = json.loads(whole.out)["parameters_sha256"]
    done = run(faults, job, "slow", Fault("wait", 1, "fsync", forever=True))
    assert (done.code, done.err) == (0, "")
    assert checked(faults, job, "slow", done, reference)
