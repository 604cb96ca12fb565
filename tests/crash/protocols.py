"""The real protocol of checkpoints, and what it would be with one mistake in it. `SAVES` are ways to save one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from dbp.storage import array_file, atomic_files
from dbp.storage.checkpoints import Checkpoint, CheckpointStore

Save = Callable[[CheckpointStore, Checkpoint], object]
Ready = Callable[[], None] | None


def checkpoint(step: int, values: int = 2_500) -> Checkpoint:
    """Three blocks of 4 KiB and a header."""
    return Checkpoint(step, {"parameters": np.full(values, step, np.float32)}, {"step": step})


def _real(store: CheckpointStore, new: Checkpoint) -> object:
    return store.save(new)


def _with_writer(write: Callable[[Path, Iterable[bytes], Ready], None]) -> Save:
    def save(store: CheckpointStore, new: Checkpoint) -> object:
        real, array_file.write_chunks = array_file.write_chunks, write
        try:
            return store.save(new)
        finally:
            array_file.write_chunks = real

    return save


def _in_place(target: Path, chunks: Iterable[bytes], ready: Ready) -> None:
    """Into the file itself; all is synced before it counts."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for chunk in chunks:
        os.write(descriptor, chunk)
    os.fsync(descriptor)
    os.close(descriptor)
    atomic_files._sync(target.parent)


def _renamed_first(target: Path, chunks: Iterable[bytes], ready: Ready) -> None:
    """Everything is synced, but the data after the rename."""
    temporary = target.with_name(".dbp-x.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT)
    for chunk in chunks:
        os.write(descriptor, chunk)
    os.replace(temporary, target)
    os.fsync(descriptor)
    os.close(descriptor)
    atomic_files._sync(target.parent)


def _retires_first(store: CheckpointStore, new: Checkpoint) -> object:
    """The oldest goes to make room for the new one."""
    with suppress(FileNotFoundError):
        for step in store.steps()[: 1 - store.keep or None]:
            os.unlink(store.path(step))
    return store.save(new)


def _retires_before_the_folder_is_synced(store: CheckpointStore, new: Checkpoint) -> object:
    """Between the rename and the fsync of the folder."""
    real = atomic_files._sync

    def retiring(folder: Path) -> None:
        if folder == store.folder:
            store._doubtful.discard(new.step)
            store._retire(new.step)
        real(folder)

    atomic_files._sync = retiring
    try:
        return store.save(new)
    finally:
        atomic_files._sync = real


SAVES: dict[str, Save] = {
    "real": _real,
    "overwritten in place": _with_writer(_in_place),
    "renamed before it is synced": _with_writer(_renamed_first),
    "retention before the new one is written": _retires_first,
    "retention before the folder is synced": _retires_before_the_folder_is_synced,
}
SKIPS = {"no fsync of files": "fsync file", "no fsync of folders": "fsync folder"}
