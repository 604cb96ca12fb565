"""A whole job and a loss of power at any moment: storage folder, job file, records, checkpoints and model of `dbp.train`."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.conftest import folder_in_memory
from crash.disk_model import Contents, State, key_of, rebuild
from crash.recording import Recording, Trouble
from small_jobs import small_job

from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.jobs.metrics import MetricsWriter, read_metrics
from dbp.jobs.status import read_status
from dbp.jobs.sweep_table import MemberResult, read_table
from dbp.models.model import load_model
from dbp.storage.array_file import write_arrays
from dbp.training.observers import Observer, Plan, Summary
from dbp.workers.train import resume, train

ALL = os.environ.get("DBP_CRASH_STATES") == "all"
SUBSETS = 40 if ALL else 3
STEPS, EVERY = 12, 4


class Ear(Observer):
    """Notes when the run says that something is safe."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    def started(self, plan: Plan) -> None:
        self.recording.tell("started")

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        self.recording.tell(step)

    def member_finished(self, result: MemberResult) -> None:
        self.recording.tell(("member", result.number))

    def finished(self, summary: Summary) -> None:
        self.recording.tell("finished")


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    with folder_in_memory() as place:
        yield place


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Any:
    overrides = (f"training.max_steps={STEPS}", f"checkpoint.every={EVERY}", "checkpoint.keep=2")
    return lambda storage: small_job(tmp_path_factory.getbasetemp(), *overrides, f"storage={storage}")


@pytest.fixture(scope="module")
def reference(job: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(train(job(tmp_path_factory.mktemp("r") / "runs"), job_id="a").summary.parameters_sha256)


METRICS = "shared/runs/a/metrics.jsonl"


def record(disk: Path, job: Any, trouble: Trouble | None = None) -> tuple[Recording, int]:
    """Record a run in a storage folder of two new folders; return also how often its metrics were synced."""
    numbers = itertools.count()
    world = disk / "world"
    world.mkdir()
    made = Recording(world)
    made.trouble = trouble
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dbp.storage.atomic_files.secrets.token_hex", lambda length: f"{next(numbers):0{2 * length}x}")
        with made.recording():
            train(job(world / "shared" / "runs"), job_id="a", observer=Ear(made))
    made.check_complete()
    metrics = made.inode(made.root / METRICS)
    shutil.rmtree(world)
    return made, made.fsyncs.get(metrics, 0) if metrics is not None else 0


@pytest.fixture(scope="module")
def recording(disk: Path, job: Any) -> Recording:
    return record(disk, job)[0]


class Reader:
    """Looks at what a crash left, with dbp's own readers; equal disks once."""

    def __init__(self, disk: Path, reference: str) -> None:
        self.disk, self.reference = disk, reference
        self.seen: dict[Any, tuple[int, str | None, int, bool]] = {}
        self.states = 0

    def check(self, state: State, what: str) -> None:
        self.states += 1
        key = key_of(state.contents)
        if key not in self.seen:
            self.seen[key] = self.read(state.contents)
        newest, status, metrics, model = self.seen[key]
        safe = max((told for told in state.told if isinstance(told, int)), default=-1)
        where = f"after {what}: {state.told}"
        assert newest >= safe, where
        # A checkpoint may be there before it is acknowledged, and a resume goes on from it: its steps are not made again.
        assert metrics >= max(safe, newest), f"{where}: step {newest} is there, steps up to {metrics} in metrics.jsonl"
        assert status is not None or "started" not in state.told, where
        assert (status, model) == ("SUCCEEDED", True) or "finished" not in state.told, where
        assert model or status != "SUCCEEDED", where

    def read(self, contents: Contents) -> tuple[int, str | None, int, bool]:
        """Return newest checkpoint (-1: none), state, last step without a gap in the metrics, whether there is a model."""
        world = self.disk / "world"
        world.mkdir()
        try:
            rebuild(contents, world)
            directory = JobDirectory(world / "shared" / "runs" / "a")
            problems: list[str] = []
            newest = directory.checkpoint_store().newest(lambda path, reason: problems.append(reason))
            assert problems == []
            if newest is not None:
                JobDirectory.open(directory.path)
            status = read_status(directory.status_file)
            steps = [line["step"] for line in read_metrics(directory.metrics_file).steps]
            last = next((step for step in itertools.count() if step + 1 not in steps), 0)
            if directory.metrics_file.exists():  # the next run's lines are whole whatever they follow
                with MetricsWriter(directory.metrics_file) as writer:
                    writer.write({"step": 99})
                assert read_metrics(directory.metrics_file).steps[-1] == {"step": 99}
            model = directory.model_file.exists()
            if model:
                assert load_model(directory.model_file).parameters_sha256 == self.reference
            return -1 if newest is None else newest.step, status and status.state, last, model
        finally:
            shutil.rmtree(world)


def test_every_state_of_a_job_can_be_read_and_nothing_acknowledged_is_lost(
    recording: Recording, disk: Path, reference: str
) -> None:
    """Metrics up to an acknowledged checkpoint are as safe as the checkpoint; later ones may lose their tail."""
    reader = Reader(disk, reference)
    for state in recording.crash_states(SUBSETS):
        reader.check(state, recording.events[state.event].what)
    assert reader.states > 1_000
    print(f"\na job: {len(recording.events)} events, {reader.states:,} states, {len(reader.seen):,} disks")


def test_a_checkpoint_that_does_not_wait_for_the_metrics_is_caught(
    disk: Path, job: Any, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made safe after the rename instead of before it, though before the checkpoint is acknowledged."""

    def too_late(path: Path, arrays: Any, metadata: Any, before_rename: Any) -> None:
        write_arrays(path, arrays, metadata)
        before_rename()

    monkeypatch.setattr("dbp.storage.checkpoints.write_arrays", too_late)
    found, _ = record(disk, job)
    reader = Reader(disk, reference)

    def check_all() -> None:
        for state in found.crash_states(SUBSETS):
            reader.check(state, found.events[state.event].what)

    with pytest.raises(AssertionError, match=r"steps up to \d+ in metrics\.jsonl"):
        check_all()


def test_metrics_are_safe_though_an_fsync_of_theirs_failed(disk: Path, job: Any, reference: str) -> None:
    """The kernel forgets what was dirty, and the next fsync succeeds: those lines are written again before it counts."""
    _, fsyncs = record(disk, job)
    assert fsyncs >= STEPS // EVERY
    states = 0
    for number in range(1, (fsyncs if ALL else 2) + 1):
        found, _ = record(disk, job, Trouble(number, errno.EIO, METRICS))
        (failed,) = [place for place, event in enumerate(found.events) if event.forgotten is not None]
        reader = Reader(disk, reference)
        for state in found.crash_states(SUBSETS // 3, first=failed // 2):
            reader.check(state, found.events[state.event].what)
        assert reader.states > 200
        states += reader.states
    print(f"\na job, an fsync of its metrics fails: {states:,} states")


def test_a_job_goes_on_from_what_the_crash_left_to_the_same_bits(
    recording: Recording, disk: Path, reference: str, job: Any
) -> None:
    """From states all along the run, by the real `resume`; where there was no job file yet, a new run takes the place."""
    found = [state for state in recording.crash_states(SUBSETS, seed=1) if "started" in state.told]
    world = disk / "world"
    for state in found[:: len(found) // (40 if ALL else 8)]:
        world.mkdir()
        rebuild(state.contents, world)
        directory = world / "shared" / "runs" / "a"
        assert resume(directory).summary.parameters_sha256 == reference
        assert not [path for path in world.rglob("*") if path.name.startswith(".dbp-")]
        assert [line["step"] for line in read_metrics(directory / "metrics.jsonl").steps] == list(range(1, STEPS + 1))
        shutil.rmtree(world)


def test_a_job_of_several_runs_goes_on_too(disk: Path, job: Any) -> None:
    """Runs that were told to be done are done in the table; a resume ends with the same best model."""

    def several(storage: Path) -> Any:
        changes = ["training.max_steps=4", "sweep={optimizer.learning_rate: [0.1, 0.2]}"]
        return Job.from_text(job(storage).to_yaml(), folder=storage.parent, overrides=changes)

    expected = train(several(disk / "reference"), job_id="a").summary.parameters_sha256
    found, _ = record(disk, several)
    states = [state for state in found.crash_states(1, seed=2) if "started" in state.told]
    world = disk / "world"
    for state in states[:: len(states) // (60 if ALL else 10)]:
        world.mkdir()
        rebuild(state.contents, world)
        home = JobDirectory(world / "shared" / "runs" / "a")
        done = {result.number for result in read_table(home.table_file) if result.done}
        assert {told[1] for told in state.told if isinstance(told, tuple)} <= done
        assert resume(home.path).summary.parameters_sha256 == expected
        assert load_model(home.model_file).parameters_sha256 == expected
        shutil.rmtree(world)
