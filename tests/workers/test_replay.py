"""Steps recomputed from a checkpoint: the same bits as recorded, or told where not; nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_jobs import small_job, write_table

import dbp
from dbp.errors import CheckpointError, InputError, JobDirectoryError
from dbp.jobs.directory import JobDirectory
from dbp.storage.array_file import read_arrays, write_arrays
from dbp.training.observers import Observer
from dbp.workers.replay import replay


class Heard(Observer):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    dbp.train(small_job(folder, "training.max_steps=30", "training.batch=9", "stopping.patience=100"), job_id="a")
    return folder


@pytest.fixture
def trained(once: Path, tmp_path: Path) -> JobDirectory:
    """30 steps of batches with a momentum; checkpoints of steps 21, 28 and 30."""
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    directory = JobDirectory(tmp_path / "runs" / "a")
    directory.job_file.write_text(directory.job_file.read_text().replace(str(once), str(tmp_path)))
    return directory


def contents(directory: JobDirectory) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()}


def edit_line(directory: JobDirectory, step: int, **changes: object) -> None:
    lines = [json.loads(line) for line in directory.metrics_file.read_text().splitlines()]
    lines[step - 1] |= changes
    directory.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("step", "start", "begins"),
    [
        (30, None, 28),
        (28, None, 21),
        (27, None, 21),
        (22, None, 21),
        (21, None, 0),
        (1, None, 0),
        (30, 21, 21),
        (30, 0, 0),
    ],
)
def test_recomputed_steps_have_the_recorded_bits(
    trained: JobDirectory, step: int, start: int | None, begins: int
) -> None:
    before = contents(trained)
    found = replay(trained, step, start=start)
    assert found.start == begins
    # The checkpoint itself is compared as well.
    assert [each.step for each in found.steps] == list(range(begins if begins else 1, step + 1))
    assert found.different == ()
    assert all(each.by == "digest" for each in found.steps)
    assert "the same bits as recorded" in found.verdict()
    assert contents(trained) == before


@pytest.mark.usefixtures("local_ray")
def test_on_workers_too(trained: JobDirectory) -> None:
    assert replay(trained, 30, start=21, workers=2).different == ()


@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer={name: lbfgs}", "training.l2_penalty=0.001"),
        ("optimizer={name: adam}", "training.precision=float32"),
        ("optimizer={name: conjugate_gradient}", "stopping.target_loss=0.4"),
    ],
)
def test_the_optimisers_state_comes_along(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    result = dbp.train(small_job(tmp_path, "training.max_steps=20", *overrides), job_id="a")
    steps = result.summary.step
    found = replay(JobDirectory.open(result.directory), steps)
    assert (found.different, found.start) == ((), (steps - 1) // 7 * 7)


def test_a_changed_digest_is_named_and_so_is_where_the_records_are_right_again(trained: JobDirectory) -> None:
    edit_line(trained, 25, digest="0123456789abcdef")
    found = replay(trained, 27)
    assert [each.step for each in found.different] == [25]
    assert found.to_json()["first_difference"] == 25
    assert "the first step with other bits than recorded is step 25; step 26 is as recorded again" in found.verdict()


def test_a_checkpoint_of_another_history_is_named(trained: JobDirectory) -> None:
    path = trained.checkpoint_store().path(21)
    arrays, metadata = read_arrays(path)
    write_arrays(path, {**arrays, "parameters": np.nextafter(arrays["parameters"], 9)}, metadata)
    found = replay(trained, 23)
    assert [each.step for each in found.different] == [21, 22, 23]
    assert "the checkpoint of step 21 does not hold the parameters" in found.verdict()


def test_a_wrong_optimiser_state_shows_at_the_first_step(trained: JobDirectory) -> None:
    """Which `verify` cannot see: the checksum holds, and the parameters are right."""
    path = trained.checkpoint_store().path(21)
    arrays, metadata = read_arrays(path)
    (name,) = [name for name in arrays if name.startswith("optimizer.") and arrays[name].size > 1]
    write_arrays(path, {**arrays, name: arrays[name] * 1.5}, metadata)
    found = replay(trained, 24)
    assert [each.step for each in found.different] == [22, 23, 24]


def test_without_digests_losses_are_compared(trained: JobDirectory) -> None:
    for step in range(1, 31):
        edit_line(trained, step, digest=None)
    found = replay(trained, 27)
    assert (found.different, {each.by for each in found.steps}) == ((), {"loss"})
    edit_line(trained, 24, loss=0.5)
    assert [each.step for each in replay(trained, 27).different] == [24]


def test_a_damaged_checkpoint_is_passed_over(trained: JobDirectory) -> None:
    path = trained.checkpoint_store().path(28)
    path.write_bytes(path.read_bytes()[:-1])
    heard = Heard()
    found = replay(trained, 30, observer=heard)
    assert (found.start, found.different) == (21, ())
    assert "step-00000028.safetensors" in heard.warnings[0]
    with pytest.raises(CheckpointError, match="cut short"):
        replay(trained, 30, start=28)


def test_what_cannot_be_replayed_is_refused(trained: JobDirectory, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"no checkpoint of step 20; there are those of steps 21, 28, 30. --from 0"
    ):
        replay(trained, 30, start=20)
    with pytest.raises(InputError, match=r"step 31 is not recorded; it has made steps 1 to 30"):
        replay(trained, 31)
    with pytest.raises(InputError, match=r"--from 28: expected a step before step 28"):
        replay(trained, 28, start=28)
    write_table(tmp_path / "table.csv", seed=5)
    for start in (None, 0):
        with pytest.raises(CheckpointError, match="the data has changed since"):
            replay(trained, 30, start=start)


def test_a_run_of_a_sweep_is_replayed_by_its_own_directory(tmp_path: Path) -> None:
    job = small_job(tmp_path, "training.max_steps=9", "training.restarts=2")
    directory = JobDirectory.open(dbp.train(job, job_id="many").directory)
    with pytest.raises(JobDirectoryError, match="stands for several runs"):
        replay(directory, 9)
    found = replay(JobDirectory.open(directory.path / "members" / "002"), 9, start=0)
    assert (found.different, len(found.steps)) == ((), 9)


def test_a_job_that_started_from_a_model(trained: JobDirectory, tmp_path: Path) -> None:
    model = json.dumps(str(trained.model_file))
    job = small_job(tmp_path, "training.max_steps=9", "checkpoint.keep=1", f"network.start_from={model}")
    directory = JobDirectory.open(dbp.train(job, job_id="warm").directory)
    assert replay(directory, 5).different == ()
    trained.model_file.unlink()
    with pytest.raises(InputError, match=r"network.start_from"):
        replay(directory, 5)
