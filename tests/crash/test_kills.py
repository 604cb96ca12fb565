"""`kill -9` at every system call of the checkpoint write, and at calls all along a whole `dbp run`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from crash.faults import Fault, Faults
from crash.protocols import checkpoint
from small_jobs import small_job

from dbp.jobs.status import read_status
from dbp.storage.atomic_files import remove_leftovers
from dbp.storage.checkpoints import CheckpointStore

KILLED = -9
ALL = os.environ.get("DBP_CRASH_STATES") == "all"
POINTS = 60 if ALL else 5


def never(path: object, reason: str) -> None:
    raise AssertionError(f"{path}: {reason}")


def test_a_kill_at_every_call_of_a_save_loses_and_tears_nothing(faults: Faults, place: Path) -> None:
    """Before each call, and in the middle of each write: the newest complete checkpoint is found, and the job goes on."""
    steps = [1, 2, 3, 4]
    whole = faults.save(place / "whole" / "checkpoints", steps) if not (place / "whole").mkdir() else None
    assert whole is not None
    assert whole.out.split() == ["1", "2", "3", "4"]
    assert {"open", "write", "fsync", "close", "rename", "unlink", "mkdir"} == set(whole.calls)
    points = [Fault("kill", call) for call in range(1, len(whole.calls) + 1)]
    points += [Fault("kill halfway", call) for call, kind in enumerate(whole.calls, 1) if kind == "write"]
    shutil.rmtree(place / "whole")
    for fault in points:
        (place / "job").mkdir()
        folder = place / "job" / "checkpoints"
        done = faults.save(folder, steps, fault)
        assert done.code == KILLED, fault
        acknowledged = max(map(int, done.out.split()), default=0)
        _goes_on(folder, acknowledged, fault)
        shutil.rmtree(place / "job")
    assert len(points) > 40
    if ALL:
        print(f"\n{len(whole.calls)} calls of {len(steps)} saves: killed at {len(points)} points")


def _goes_on(folder: Path, acknowledged: int, fault: Fault) -> None:
    store = CheckpointStore(folder, 2)
    newest = store.newest(never)  # would be told of a torn one
    found = 0 if newest is None else newest.step
    assert found in (acknowledged, acknowledged + 1), fault
    assert newest is None or (newest.arrays["parameters"] == found).all()
    assert all(entry.valid for entry in store.listing()), fault
    remove_leftovers(folder)
    store.save(checkpoint(found + 1))
    after = store.newest(never)
    assert after is not None
    assert after.step == found + 1
    assert sorted(os.listdir(folder)) == [store.path(step).name for step in range(max(1, found), found + 2)]


@pytest.fixture
def job(faults: Faults, tmp_path: Path) -> Path:
    made = small_job(tmp_path, "training.max_steps=15", "checkpoint.keep=2")
    (tmp_path / "job.yaml").write_text(made.to_yaml())
    return tmp_path / "job.yaml"


def test_a_kill_anywhere_in_a_run_and_a_resume_give_the_same_bits(faults: Faults, job: Path) -> None:
    """At calls all along the run; what was killed before it had a job file is run anew under another id."""
    runs = job.parent / "runs"
    sets = ("--storage", runs, "--json", "--quiet")
    runs.mkdir()
    whole = faults.dbp("run", job, "--id", "whole", *sets, below=runs)
    assert whole.code == 0, whole.err
    reference = json.loads(whole.out)["parameters_sha256"]
    assert len(whole.calls) > 100
    points = sorted({1 + number * (len(whole.calls) - 1) // (POINTS - 1) for number in range(POINTS)})
    resumed = 0
    for point in points:
        name = f"killed-{point}"
        done = faults.dbp("run", job, "--id", name, *sets, below=runs, fault=Fault("kill", point))
        assert done.code == KILLED
        status = read_status(runs / name / "status.json") if (runs / name).exists() else None
        if (runs / name / "job.yaml").exists():
            resumed += 1
            done = faults.dbp("resume", name, *sets, below=runs)
        else:
            done = faults.dbp("run", job, "--id", f"{name}-again", *sets, below=runs)
            name += "-again"
        assert done.code == 0, done.err
        assert json.loads(done.out)["parameters_sha256"] == reference
        # Nobody writes a job again that is done, though it was killed before it had given back its lease.
        if status is None or status.state != "SUCCEEDED":
            assert not [path for path in (runs / name).rglob("*") if path.name.startswith(".dbp-")]
    assert resumed >= POINTS // 2
    if ALL:
        print(f"\n{len(whole.calls)} calls of a run: killed at {len(points)} points, {resumed} of them resumed")
