"""Checkpoints: the newest good one is found, whatever happened to the others or to the process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dbp.errors import CheckpointError, StorageError
from dbp.storage import atomic_files
from dbp.storage.array_file import write_arrays
from dbp.storage.checkpoints import Checkpoint, CheckpointStore


def make(step: int) -> Checkpoint:
    parameters = np.arange(20, dtype=np.float32) * step
    return Checkpoint(step, {"parameters": parameters, "velocity": -parameters}, {"loss": step / 4, "job": "abc"})


def store(folder: Path, steps: tuple[int, ...] = (), keep: int = 3) -> CheckpointStore:
    made = CheckpointStore(folder / "checkpoints", keep)
    for step in steps:
        made.save(make(step))
    return made


def never(path: Path, reason: str) -> None:
    raise AssertionError(f"{path}: {reason}")


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    """Arrays bit for bit, metadata, and the file name of the contract."""
    checkpoints = store(tmp_path)
    path = checkpoints.save(make(50))
    assert path == tmp_path / "checkpoints" / "step-00000050.safetensors"
    found = checkpoints.load(50)
    assert (found.step, found.metadata) == (50, {"loss": 12.5, "job": "abc"})
    for name, array in make(50).arrays.items():
        assert found.arrays[name].tobytes() == array.tobytes()


def test_the_newest_are_kept(tmp_path: Path) -> None:
    assert store(tmp_path / "a").newest(never) is None
    (tmp_path / "b").mkdir()
    checkpoints = store(tmp_path / "b", (10, 20, 30, 40, 50), keep=2)
    assert checkpoints.steps() == [40, 50]
    assert sorted(os.listdir(checkpoints.folder)) == ["step-00000040.safetensors", "step-00000050.safetensors"]
    newest = checkpoints.newest(never)
    assert newest is not None
    assert newest.step == 50


def test_newest_means_the_highest_step_not_the_latest_time(tmp_path: Path) -> None:
    """Clocks jump; steps do not. Beyond 8 digits the order is still by number."""
    checkpoints = store(tmp_path, (99_999_999, 100_000_000), keep=5)
    os.utime(checkpoints.path(99_999_999), (2e9, 2e9))
    os.utime(checkpoints.path(100_000_000), (0, 0))
    newest = checkpoints.newest(never)
    assert newest is not None
    assert newest.step == 100_000_000


def test_damaged_checkpoints_are_named_and_passed_over(tmp_path: Path) -> None:
    """A flipped bit in the newest, a truncated one before it: the third is used, both files are told with the reason."""
    checkpoints = store(tmp_path, (10, 20, 30))
    data = bytearray(checkpoints.path(30).read_bytes())
    data[-1] ^= 1
    checkpoints.path(30).write_bytes(data)
    os.truncate(checkpoints.path(20), 100)
    told: list[tuple[str, str]] = []
    newest = checkpoints.newest(lambda path, reason: told.append((path.name, reason)))
    assert newest is not None
    assert newest.step == 10
    assert [name for name, _ in told] == ["step-00000030.safetensors", "step-00000020.safetensors"]
    assert told[0][1] == "damaged: its contents do not match their SHA-256"
    assert told[1][1].startswith("cut short")
    assert [(entry.step, entry.valid) for entry in checkpoints.listing()] == [(10, True), (20, False), (30, False)]
    assert checkpoints.listing()[1].size == 100
    assert checkpoints.listing()[2].problem == told[0][1]


def test_a_damaged_later_checkpoint_does_not_push_out_good_ones(tmp_path: Path) -> None:
    """After falling back from 30 to 20, saving 25 with keep=1 keeps 25 itself; 30 is replaced when the run gets there."""
    checkpoints = store(tmp_path, (20, 30), keep=2)
    checkpoints.path(30).write_bytes(b"damaged")
    resumed = CheckpointStore(checkpoints.folder, keep=1)
    resumed.save(make(25))
    assert resumed.steps() == [25, 30]
    newest = resumed.newest(lambda path, reason: None)
    assert newest is not None
    assert newest.step == 25
    resumed.save(make(30))
    assert resumed.steps() == [30]
    assert resumed.load(30).step == 30


def test_saving_a_step_again_gives_the_same_bytes(tmp_path: Path) -> None:
    checkpoints = store(tmp_path, (10,))
    first = checkpoints.path(10).read_bytes()
    checkpoints.save(make(10))
    assert checkpoints.path(10).read_bytes() == first
    assert checkpoints.steps() == [10]


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    """Other names are left alone; renamed, linked and foreign files are refused in words."""
    checkpoints = store(tmp_path, (10,))
    folder = checkpoints.folder
    for name in ("notes.txt", "step-9.safetensors", "step-000000010.safetensors", ".dbp-0.tmp.safetensors"):
        (folder / name).write_bytes(b"x")
    assert checkpoints.steps() == [10]
    (folder / "step-00000020.safetensors").write_bytes(checkpoints.path(10).read_bytes())
    (folder / "step-00000030.safetensors").symlink_to(checkpoints.path(10))
    write_arrays(folder / "step-00000040.safetensors", {}, {"network": [1]})
    for step, words in {
        15: "no such file",
        20: "holds step 10, but its name says step 20; was it renamed?",
        30: "symbolic links, or is one",
        40: "not a checkpoint, though it holds arrays of dbp",
    }.items():
        with pytest.raises(CheckpointError, match=words) as caught:
            checkpoints.load(step)
        assert str(caught.value).startswith(f"{checkpoints.path(step)}: ")


@pytest.mark.parametrize("call", ["open", "write", "fsync", "close", "replace"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_failed_save_costs_no_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Whichever call fails, with keep=1: an intact checkpoint is there, and retention did not run."""
    checkpoints = store(tmp_path, (10,), keep=1)
    real, calls = getattr(os, call), []

    def failing(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == number:
            raise OSError(errno.EIO, "bad disk")
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(atomic_files.os, call, failing)
        message = ""
        try:
            checkpoints.save(make(20))
        except StorageError as error:
            message = str(error)
    failed = len(calls) >= number
    assert ("input/output error" in message) == failed
    assert (10 in checkpoints.steps()) == failed
    newest = checkpoints.newest(never)
    assert newest is not None
    assert not [name for name in os.listdir(checkpoints.folder) if name.startswith(".dbp-")]


def test_a_vanished_job_directory_is_told(tmp_path: Path) -> None:
    checkpoints = CheckpointStore(tmp_path / "gone" / "checkpoints")
    with pytest.raises(StorageError, match="checkpoints: cannot be made: no such file or folder"):
        checkpoints.save(make(10))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        CheckpointStore(tmp_path / "file").save(make(10))
    with pytest.raises(StorageError, match="cannot be read: a part of the path is a file"):
        CheckpointStore(tmp_path / "file").steps()


SAVER = """
import sys
from pathlib import Path
import numpy as np
from dbp.storage.checkpoints import Checkpoint, CheckpointStore
store = CheckpointStore(Path(sys.argv[1]), keep=2)
for step in range(1, 100_000):
    store.save(Checkpoint(step, {"parameters": np.full(50_000, step, np.float32)}, {"step": step}))
    print(step, flush=True)
"""


def test_kill_9_during_saves_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """A child saves as fast as it can and is killed at 12 moments: no torn file, the newest is at least the last acknowledged."""
    draw = np.random.default_rng(7)
    for trial in range(12):
        folder = tmp_path / str(trial)
        with subprocess.Popen([sys.executable, "-c", SAVER, str(folder)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            time.sleep(float(draw.uniform(0, 0.05)))
            child.send_signal(signal.SIGKILL)
            acknowledged = [int(line) for line in [first, *child.stdout.read().splitlines()] if line.strip()]
        newest = CheckpointStore(folder).newest(never)  # a torn file would be told
        assert newest is not None
        assert newest.step in (acknowledged[-1], acknowledged[-1] + 1)
        assert (newest.arrays["parameters"] == newest.step).all()
        assert all(entry.valid for entry in CheckpointStore(folder).listing())
        assert len(CheckpointStore(folder).steps()) <= 3


def test_old_checkpoints_go_only_after_the_new_one_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rename, fsync of the folder, and only then the first unlink: no loss of power finds fewer than `keep`."""
    checkpoints = store(tmp_path, (10, 20), keep=2)
    order: list[str] = []
    for call in ("replace", "fsync", "unlink"):
        real = getattr(os, call)
        monkeypatch.setattr(os, call, lambda *a, real=real, call=call: (order.append(call), real(*a))[1])
    checkpoints.save(make(30))
    assert order == ["fsync", "replace", "fsync", "unlink"]
    assert checkpoints.steps() == [20, 30]


def test_one_that_was_not_acknowledged_does_not_count_as_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's fsync failed after the rename: the file is there, and may not be after a loss of power."""
    checkpoints = store(tmp_path, (10, 20), keep=2)
    real, calls = atomic_files._sync, []

    def failing(folder: Path) -> None:
        calls.append(folder)
        raise OSError(errno.EIO, "bad disk")

    with monkeypatch.context() as patch:
        patch.setattr(atomic_files, "_sync", failing)
        with pytest.raises(StorageError, match="input/output error"):
            checkpoints.save(make(30))
    assert atomic_files._sync is real
    assert len(calls) == 1
    checkpoints.save(make(40))
    assert checkpoints.steps() == [20, 30, 40]
    checkpoints.save(make(50))
    assert checkpoints.steps() == [40, 50]


def test_an_old_one_that_cannot_be_removed_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    checkpoints = CheckpointStore(tmp_path / "c", keep=1, warn=told.append)
    checkpoints.save(make(10))
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda path: (_ for _ in ()).throw(PermissionError(errno.EACCES, "no")))
        checkpoints.save(make(20))
    assert "an old checkpoint could not be removed: " in told[0]
    assert "step-00000010.safetensors: cannot be removed: permission denied" in told[0]
    checkpoints.save(make(30))
    assert checkpoints.steps() == [30]


def test_every_flipped_bit_and_every_cut_is_noticed_and_the_one_before_is_used(tmp_path: Path) -> None:
    """All eight bits of the 8 bytes of length and of the header, one bit of each byte of the arrays; no damage takes memory."""
    checkpoints = store(tmp_path, (10,))
    newest = Checkpoint(20, {"parameters": np.arange(3.0), "flags": np.array([True, False])}, {"loss": 0.5})
    path = checkpoints.save(newest)
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    damaged = [good[:length] for length in range(len(good))]
    for place in range(len(good)):
        for bit in range(8) if place < header else [place % 8]:
            damaged.append(good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :])
    tracemalloc.start()
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            checkpoints.load(20)
        assert str(caught.value).startswith(f"{path}: ")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    told: list[str] = []
    found = checkpoints.newest(lambda file, reason: told.append(f"{file}: {reason}"))
    assert found is not None
    assert found.step == 10
    assert told == [str(caught.value)]
    path.write_bytes(good)
    assert checkpoints.load(20).metadata == {"loss": 0.5}


def test_who_reads_while_old_checkpoints_are_removed_gets_a_whole_one(tmp_path: Path) -> None:
    """One thread saves and removes, one reads: what it gets is one checkpoint, never parts of two, and never an older one."""
    checkpoints = store(tmp_path, (1,), keep=1)
    steps, seen = 300, []
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [checkpoints.save(make(step)) for step in range(2, steps + 1)])
        while not writing.done():
            found = CheckpointStore(checkpoints.folder).newest(never)
            assert found is not None
            assert all((array == make(found.step).arrays[name]).all() for name, array in found.arrays.items())
            seen.append(found.step)
        writing.result()
    assert seen == sorted(seen)
    assert len(set(seen)) > 5


class Gate:
    """Stands in for making another file safe; it ends when it may, and may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.begun, self.may_end, self.ended = threading.Event(), threading.Event(), False

    def __call__(self) -> None:
        self.begun.set()
        assert self.may_end.wait(20)
        self.ended = True
        if self.error is not None:
            raise self.error


def test_what_must_be_safe_first_is_done_before_the_checkpoint_is_there(tmp_path: Path) -> None:
    checkpoints, gate = store(tmp_path), Gate()
    saving = threading.Thread(target=checkpoints.save, args=(make(7), gate))
    saving.start()
    assert gate.begun.wait(20)
    assert checkpoints.steps() == []
    gate.may_end.set()
    saving.join(20)
    assert gate.ended
    assert checkpoints.steps() == [7]


def test_a_checkpoint_whose_first_call_fails_is_not_there(tmp_path: Path) -> None:
    checkpoints = store(tmp_path, (1,))
    gate = Gate(StorageError("metrics.jsonl: cannot be made durable: the disk is full"))
    gate.may_end.set()
    with pytest.raises(StorageError, match=r"metrics\.jsonl: cannot be made durable"):
        checkpoints.save(make(2), gate)
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-00000001.safetensors"], (
        "nor is a temporary file"
    )
