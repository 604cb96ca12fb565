"""Workers look through large tables of text: the bits of a job are those of one process, also when who reads dies. Real kills."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
import ray
from small_jobs import small_job, write_table

import dbp
from dbp.data import split_column, text_scan
from dbp.data.csv import CsvTable
from dbp.data.open_table import open_table
from dbp.data.table_file import LocalFile
from dbp.data.text_scan import RangeFound, RangeTask, TextScan
from dbp.data.unpacked import UnpackedFile
from dbp.errors import DataError, WorkersLostError
from dbp.training.observers import Observer
from dbp.workers import looking
from dbp.workers.looking import RayLookers
from dbp.workers.opening import Opening
from dbp.workers.placement import Need, Room
from dbp.workers.train import resume

STEPS = "training.max_steps=20"


@pytest.fixture(autouse=True)
def _small_ranges() -> Iterator[None]:
    with patch.object(text_scan, "RANGE_BYTES", 500), patch.object(text_scan, "LEAST_BYTES", 0):
        yield


class Watcher(Observer):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.read: list[tuple[int, int]] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def reading(self, table: str, done: int, total: int) -> None:
        self.read.append((done, total))


def tasks_of(path: Path) -> list[RangeTask]:
    source = LocalFile(path, str(path))
    return TextScan.of(source, CsvTable.rows(source)).tasks()


@pytest.mark.usefixtures("local_ray")
def test_a_job_has_the_bits_of_one_process(tmp_path: Path) -> None:
    """Run, resumed, and as a sweep: the workers read, then train."""
    job, watcher = small_job(tmp_path, STEPS), Watcher()
    alone = dbp.train(job, job_id="alone", workers=0).summary
    together = dbp.train(job, job_id="together", workers=2, observer=watcher).summary
    assert together.parameters_sha256 == alone.parameters_sha256
    size = (tmp_path / "table.csv").stat().st_size
    assert watcher.stages[0] == f"reading {tmp_path}/table.csv (0 MiB)"
    assert watcher.read[0] == (0, size)
    assert watcher.read[-1] == (size, size)
    assert resume(tmp_path / "runs/together", overrides=["training.max_steps=30"], workers=2).summary.step == 30
    swept = dbp.train(small_job(tmp_path, STEPS, "training.restarts=2"), job_id="swept", workers=2)
    assert [member.state for member in swept.members] == ["SUCCEEDED", "SUCCEEDED"]


@pytest.mark.usefixtures("local_ray")
def test_compressed_text_is_unpacked_by_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is, by them alone; the bits are those of the text."""
    alone = dbp.train(small_job(tmp_path, STEPS), job_id="alone", workers=0).summary
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "table.csv").read_bytes()))
    monkeypatch.setattr(UnpackedFile, "local", lambda self: pytest.fail("unpacked by the coordinator"))
    watcher = Watcher()
    job = small_job(tmp_path, STEPS, f"data.train={tmp_path}/t.csv.gz")
    together = dbp.train(job, job_id="together", workers=2, observer=watcher).summary
    assert together.parameters_sha256 == alone.parameters_sha256
    size = (tmp_path / "t.csv.gz").stat().st_size
    assert (watcher.read[0], watcher.read[-1]) == ((0, size), (size, size))


@pytest.mark.usefixtures("local_ray")
def test_workers_read_the_column_that_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = small_job(tmp_path, STEPS, "data.validation_split={group: c}")
    alone = dbp.train(job, job_id="alone", workers=0).summary
    monkeypatch.setattr(split_column, "_coded", lambda *rows: pytest.fail("read by the coordinator"))
    assert dbp.train(job, job_id="together", workers=2).summary.parameters_sha256 == alone.parameters_sha256


@dataclass(frozen=True)
class Deadly(RangeTask):
    """Kills its process, where it has not done so as often before."""

    deaths: int = 0
    marks: str = ""

    def __call__(self) -> RangeFound | None:
        seen = len(os.listdir(self.marks))
        if seen < self.deaths:
            Path(self.marks, f"{seen}-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__()


def deadly(path: Path, deaths: int) -> list[RangeTask]:
    (path.parent / "marks").mkdir()
    first, *others = tasks_of(path)
    last = others.pop()
    return [first, *others, Deadly(**vars(last), deaths=deaths, marks=str(path.parent / "marks"))]


@pytest.mark.usefixtures("local_ray")
def test_who_dies_is_replaced(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", 100)
    found = list(RayLookers(2).results(deadly(path, 1)))
    assert len(os.listdir(tmp_path / "marks")) == 1
    expected = [task() for task in tasks_of(path)]
    assert [each and each.index.offsets.tolist() for each in found] == [
        each and each.index.offsets.tolist() for each in expected
    ]


@pytest.mark.usefixtures("local_ray")
def test_who_dies_again_and_again(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", 100)
    with (
        patch.object(looking, "_TRIES", 2),
        pytest.raises(WorkersLostError, match=r"who read the table was lost 2 times: its process died"),
    ):
        list(RayLookers(2).results(deadly(path, 9)))


@pytest.mark.usefixtures("local_ray")
def test_a_wrong_row_is_named_as_ever(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    path = tmp_path / "table.csv"
    path.write_text(path.read_text() + "1,2\n")
    with pytest.raises(DataError) as alone:
        open_table(path)
    with pytest.raises(DataError) as together:
        dbp.train(job, job_id="a", workers=2)
    assert str(together.value) == str(alone.value)
    assert "row 41" in str(alone.value)
    assert not (tmp_path / "runs/a").exists()


@pytest.mark.usefixtures("local_ray")
def test_a_file_that_other_machines_do_not_see(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", 100)
    tasks = tasks_of(path)
    path.unlink()
    with pytest.raises(DataError, match=r"t\.csv: cannot be read \(No such file.*on node .*all workers must see"):
        list(RayLookers(2).results(tasks))


@pytest.mark.usefixtures("local_ray")
def test_in_the_room_of_a_submitted_job(tmp_path: Path) -> None:
    """Its places are used while no worker has them; where they are taken, that is said after a while."""
    job, room = small_job(tmp_path), Room.reserve(Need(1, {"CPU": 1.0}), "reading")
    try:
        assert room.group.wait(60)
        with Opening(job, Watcher(), 1, 0, None, room) as opening:
            assert opening.dataset().training_rows == 28
        holder = ray.remote(num_cpus=1, **room.worker_options(0))(Holder).remote()
        ray.get(holder.ready.remote())
        with (
            patch.object(looking, "START_TIMEOUT_S", 0.5),
            Opening(job, Watcher(), 1, 0, None, room) as opening,
            pytest.raises(WorkersLostError, match=r"nobody began to read the table within 0 s: that needs one CPU"),
        ):
            opening.dataset()
    finally:
        room.release()


class Holder:
    """Has a place."""

    def ready(self) -> None:
        pass


RUN = """
import sys
from pathlib import Path
import ray
import dbp
from dbp.data import text_scan
from dbp.training.observers import Observer
from dbp.workers.opening import Opening
from small_jobs import small_job

text_scan.RANGE_BYTES, text_scan.LEAST_BYTES = 500, 0
begun, start = [], ray.init
ray.init = lambda **options: begun.append(1) or start(**options)
job = small_job(Path(sys.argv[1]), "training.max_steps=20")
result = dbp.train(job, workers=1)
assert not ray.is_initialized()
print(len(begun), result.summary.parameters_sha256)
with Opening(job, Observer(), 1, 0, None, None) as opening:
    needs = iter([1, 2])
    opening._need = lambda dataset: next(needs)
    opening.dataset()
    print(len(begun), ray.is_initialized())
"""


@pytest.mark.long
def test_a_ray_of_its_own(tmp_path: Path) -> None:
    """It is started to read, and the workers train on it; not where the first rows made it too small. None is left."""
    alone = dbp.train(small_job(tmp_path, STEPS), job_id="alone", workers=0).summary
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    run = [sys.executable, "-c", RUN, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.stdout.split() == ["1", alone.parameters_sha256, "2", "False"], done.stderr
