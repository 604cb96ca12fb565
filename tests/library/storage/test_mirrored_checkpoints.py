"""Checkpoints at a URI: acknowledged when they are there, and never replaced, removed or outranked by a run that was fenced off."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest
from chaos import ChaosFileSystem, Fault

from dbp.errors import CheckpointError, LeaseLostError, StorageError
from dbp.storage.checkpoints import Checkpoint
from dbp.storage.mirror import Mirror
from dbp.storage.mirrored_checkpoints import MirroredCheckpoints
from dbp.storage.remote import Folder, open_folder


@pytest.fixture
def remote() -> Folder:
    return open_folder(f"memory://{uuid.uuid4().hex}/job")


def run(
    folder: Path, remote: Folder, epoch: int | None, keep: int = 3, before_save=lambda: None
) -> MirroredCheckpoints:
    folder.mkdir(exist_ok=True)
    mirror = Mirror(folder, remote, frozenset({"metrics.jsonl"}), "status.json")
    return MirroredCheckpoints(folder / "checkpoints", keep, before_save, mirror=mirror, epoch=epoch)


def checkpoint(step: int, value: float = 0.0) -> Checkpoint:
    return Checkpoint(step, {"parameters": np.full(4, value)}, {})


def nothing_damaged(path, reason):
    raise AssertionError(f"{path}: {reason}")


def test_a_checkpoint_is_there_with_the_metrics_so_far(tmp_path, remote):
    store = run(tmp_path / "one", remote, 1)
    metrics = tmp_path / "one" / "metrics.jsonl"
    metrics.write_bytes(b"a line\n")
    store.mirror.soon(metrics)
    store.save(checkpoint(10))
    assert remote.names() == ["checkpoints", "metrics.jsonl"]
    assert remote.child("checkpoints/e00000001").names() == ["step-00000010.safetensors"]


def test_the_newest_few_are_kept(tmp_path, remote):
    store = run(tmp_path / "one", remote, 1, keep=2)
    for step in (10, 20, 30, 40):
        store.save(checkpoint(step))
    names = ["step-00000030.safetensors", "step-00000040.safetensors"]
    assert remote.child("checkpoints/e00000001").names() == names
    assert sorted(path.name for path in store.folder.iterdir()) == names


def test_a_run_elsewhere_goes_on_and_the_older_epoch_is_removed_when_it_is_not_needed(tmp_path, remote):
    first = run(tmp_path / "one", remote, 1)
    for step in (10, 20, 30):
        first.save(checkpoint(step, step))
    second = run(tmp_path / "two", remote, 2)
    found = second.newest(nothing_damaged)
    assert (found.step, found.arrays["parameters"][0]) == (30, 30)
    assert remote.child("checkpoints/e00000002").names() == ["step-00000030.safetensors"]
    second.save(checkpoint(40))
    assert (
        len(remote.child("checkpoints/e00000001").names()) == 3
    )  # against damage, as long as there are few of its own
    second.save(checkpoint(50))
    assert remote.child("checkpoints").names() == ["e00000002"] or remote.child("checkpoints/e00000001").names() == []


def test_a_run_that_was_fenced_off_never_has_the_newest_checkpoint(tmp_path, remote):
    """Not even with a put that was on its way when the newer run began."""
    old = run(tmp_path / "old", remote, 1)
    for step in (10, 20):
        old.save(checkpoint(step, 1))
    new = run(tmp_path / "new", remote, 2)
    assert new.newest(nothing_damaged).step == 20
    old.save(checkpoint(30, 1))
    reader = run(tmp_path / "reader", remote, None)
    assert reader.steps() == [10, 20]
    new.save(checkpoint(25, 2))
    old.save(checkpoint(25, 1))
    assert [entry.step for entry in reader.listing()] == [10, 20, 25]
    assert reader.load(25).arrays["parameters"][0] == 2
    third = run(tmp_path / "third", remote, 3).newest(nothing_damaged)
    assert (third.step, third.arrays["parameters"][0]) == (25, 2)


def test_the_lease_is_looked_at_before_and_after(tmp_path, remote):
    calls = []

    def lost_from(number):
        def check():
            calls.append(1)
            if len(calls) >= number:
                raise LeaseLostError("a newer run")

        return check

    for number in (1, 2):
        calls.clear()
        with pytest.raises(LeaseLostError):
            run(tmp_path / f"{number}", remote, 1, before_save=lost_from(number)).save(checkpoint(number))
    assert remote.child("checkpoints/e00000001").names() == ["step-00000002.safetensors"]


@pytest.mark.parametrize("damage", [b"", b"x" * 100, None])
def test_a_damaged_one_is_passed_over(tmp_path, remote, damage):
    store = run(tmp_path / "one", remote, 1)
    for step in (10, 20):
        store.save(checkpoint(step))
    whole = remote.read("checkpoints/e00000001/step-00000020.safetensors")
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    remote.write("checkpoints/e00000001/step-00000020.safetensors", flipped if damage is None else damage)
    place = f"{remote.uri}/checkpoints/e00000001/step-00000020.safetensors"
    (bad,) = [entry for entry in run(tmp_path / "reader", remote, None).listing() if not entry.valid]
    assert (bad.step, bad.uri) == (20, place)
    passed = []
    found = run(tmp_path / "two", remote, 2).newest(lambda place, reason: passed.append((place, reason)))
    assert found.step == 10
    ((said, reason),) = passed
    assert said == place
    assert reason


def test_bytes_that_are_damaged_on_their_way_are_asked_for_again(tmp_path, chaos: type[ChaosFileSystem]):
    remote = open_folder("chaos://b/job")
    run(tmp_path / "one", remote, 1).save(checkpoint(10))
    chaos.faults.append(Fault("get", "flipped", (1,), "step-"))
    assert run(tmp_path / "two", remote, 2).newest(nothing_damaged).step == 10


def test_a_copied_job_directory_can_be_gone_on_with(tmp_path, remote):
    """Somebody put a local one into a bucket: its checkpoints have no epoch."""
    local = run(tmp_path / "one", remote, 1)
    remote.upload(local.save(checkpoint(10)), "checkpoints/step-00000010.safetensors")
    remote.child("checkpoints/e00000001").clear()
    assert run(tmp_path / "two", remote, 2).newest(nothing_damaged).step == 10


def test_a_checkpoint_that_does_not_reach_the_store_is_not_saved(tmp_path, chaos: type[ChaosFileSystem]):
    remote = open_folder("chaos://b/job")
    store = run(tmp_path / "one", remote, 1)
    store.save(checkpoint(10))
    chaos.faults.append(Fault("put", "full", None))
    with pytest.raises(StorageError, match=r"step-00000020\.safetensors: cannot be written: the store is full"):
        store.save(checkpoint(20))
    chaos.faults.clear()
    assert run(tmp_path / "two", remote, 2).newest(nothing_damaged).step == 10


def test_old_ones_that_cannot_be_removed_are_a_warning(tmp_path, chaos: type[ChaosFileSystem]):
    warned = []
    folder = tmp_path / "one"
    folder.mkdir()
    mirror = Mirror(folder, open_folder("chaos://b/job"), frozenset(), "status.json")
    store = MirroredCheckpoints(folder / "checkpoints", 1, mirror=mirror, epoch=1, warn=warned.append)
    chaos.faults.append(Fault("remove", "403", None))
    for step in (10, 20):
        store.save(checkpoint(step))
    assert "an old checkpoint could not be removed: chaos://b/job/checkpoints" in warned[0]


def test_a_step_that_is_not_there(tmp_path, remote):
    with pytest.raises(CheckpointError, match="no checkpoint of step 7"):
        run(tmp_path / "reader", remote, None).load(7)
