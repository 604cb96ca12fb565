"""A disk in memory, below the `os` that dbp's storage calls: what a loss of power may leave of it, and system calls that fail.

A file's bytes are safe once it was fsynced, a folder's names (new, renamed, removed) once the folder was. A loss of power keeps
what is safe and any subset of the rest, in the manner of ALICE (Pillai et al. 2014): bytes of files not at all, all, or torn.
"""

from __future__ import annotations

import errno
import io
import os
import random
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from dbp.storage import array_file, atomic_files, checkpoints
from dbp.training import saving
from simulation.world import World

HOME = "/job"
WRITE_ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EMFILE, errno.EROFS)


@dataclass
class File:
    """An inode."""

    number: int
    data: bytearray = field(default_factory=bytearray)
    safe: bytes | None = None  # what a loss of power leaves at least; None: nothing was ever synced


@dataclass
class Change:
    """A change of names that no fsync has made safe yet."""

    remove: str | None
    name: str | None
    file: File | None


@dataclass
class Disk:
    """Files by path, in folders; the names of a folder that are safe, and the changes since."""

    names: dict[str, File] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {HOME})
    safe_names: dict[str, File] = field(default_factory=dict)
    safe_folders: set[str] = field(default_factory=lambda: {HOME})
    changes: list[Change] = field(default_factory=list)
    files: int = 0

    def change(self, remove: str | None = None, name: str | None = None, file: File | None = None) -> None:
        """Change names, at once for all who look, safely only after `sync`."""
        _apply(self.names, change := Change(remove, name, file))
        self.changes.append(change)

    def sync(self, folder: str) -> None:
        """Make the names in a folder safe."""
        self.safe_folders |= {made for made in self.folders if made.rpartition("/")[0] == folder}
        mine = [change for change in self.changes if _folder_of(change) == folder]
        for change in mine:
            _apply(self.safe_names, change)
        self.changes = [change for change in self.changes if change not in mine]

    def lose_power(self, dice: random.Random) -> None:
        """Become what is left after a loss of power."""
        share = dice.choice((0.0, 0.0, 0.5, 1.0))
        for change in self.changes:
            if dice.random() < share:
                _apply(self.safe_names, change)
        self.changes = []
        if share < 1:
            self.folders = set(self.safe_folders)
        self.names = {name: file for name, file in self.safe_names.items() if name.rpartition("/")[0] in self.folders}
        self.safe_names = dict(self.names)
        for file in {file.number: file for file in self.names.values()}.values():
            file.data = bytearray(_after_power_loss(file, dice))
            file.safe = bytes(file.data)


def _after_power_loss(file: File, dice: random.Random) -> bytes:
    safe, data = file.safe or b"", bytes(file.data)
    if safe == data:
        return data
    kept = dice.choice(("safe", "torn", "all"))
    if kept == "torn":
        cut = dice.randrange(len(data) + 1)
        return data[:cut] + bytes(len(data) - cut)
    return safe if kept == "safe" else data


def _apply(names: dict[str, File], change: Change) -> None:
    if change.remove is not None:
        names.pop(change.remove, None)
    if change.name is not None and change.file is not None:
        names[change.name] = change.file


def _folder_of(change: Change) -> str:
    return (change.name or change.remove or "").rpartition("/")[0]


class SimulatedOs:
    """The part of `os` that storage uses, on a `Disk`. Each call may fail, or be the last that the coordinator makes."""

    # Constants and what asks for no file.
    O_RDONLY, O_WRONLY, O_CREAT, O_EXCL = os.O_RDONLY, os.O_WRONLY, os.O_CREAT, os.O_EXCL
    O_NOFOLLOW, O_DIRECTORY, O_NONBLOCK = os.O_NOFOLLOW, os.O_DIRECTORY, os.O_NONBLOCK
    fspath, strerror = staticmethod(os.fspath), staticmethod(os.strerror)

    def __init__(self, disk: Disk, world: World) -> None:
        self.disk, self.world = disk, world
        self.reading = False  # faults of loads are another kind than those of saves
        self.calls = 0
        self.read_failures = 0
        self.failed_writes = 0  # since the last checkpoint that was safe
        self._open: dict[int, str | File] = {}
        self._next = 100

    def restart(self) -> None:
        """A new process: no file is open."""
        self._open.clear()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Within, system calls belong to a load."""
        self.reading = True
        try:
            yield
        finally:
            self.reading = False

    def _call(self, name: str, path: str, effect: Callable[[], Any], codes: tuple[int, ...] = WRITE_ERRORS) -> Any:
        world = self.world
        self.calls += 1
        world.maybe_kill(f"before {name}")
        if name in ("write", "mkdir") and self.broken:
            self.failed_writes += 1
            world.probe("disk is full, for ever")
            world.tell("disk", f"{name} {path}: no space left, and there never will be")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        kind = "disk_read" if self.reading else "disk_write"
        if codes and world.strikes(kind, f"{kind} fails: {name}"):
            code = errno.EIO if self.reading else world.dice.choice(codes)
            self.read_failures += self.reading
            self.failed_writes += not self.reading
            world.tell("disk", f"{name} {path}: {os.strerror(code)}")
            raise OSError(code, os.strerror(code))
        result = effect()
        world.maybe_kill(f"after {name}")
        return result

    @property
    def broken(self) -> bool:
        """Whether the disk takes nothing more."""
        plan = self.world.plan
        return plan.forever == "disk is full" and self.calls > plan.forever_from

    def open(self, path: object, flags: int, mode: int = 0o777) -> int:
        name = os.fspath(path)  # type: ignore[call-overload]

        def effect() -> int:
            target: str | File | None = name if name in self.disk.folders else self.disk.names.get(name)
            if flags & os.O_CREAT:
                if target is not None:
                    raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
                if name.rpartition("/")[0] not in self.disk.folders:
                    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
                self.disk.files += 1
                target = File(self.disk.files)
                self.disk.change(name=name, file=target)
            elif target is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            self._next += 1
            self._open[self._next] = target
            return self._next

        descriptor: int = self._call("open", name, effect)
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        file = self._file(descriptor)
        taken = len(data)
        if taken > 1 and self.world.strikes("short_write"):
            taken = self.world.dice.randrange(1, taken)

        def effect() -> int:
            file.data += data[:taken]
            return taken

        written: int = self._call("write", f"file {file.number}", effect)
        return written

    def fsync(self, descriptor: int) -> None:
        target = self._open[descriptor]

        def effect() -> None:
            if isinstance(target, File):
                target.safe = bytes(target.data)
            else:
                self.disk.sync(target)

        name = "fsync of a file" if isinstance(target, File) else "fsync of a folder"
        self._call(name, str(getattr(target, "number", target)), effect, (errno.EIO, errno.ENOSPC))

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor)
        self._call("close", "", lambda: None, () if self.reading else (errno.EIO, errno.EDQUOT))

    def replace(self, source: object, target: object) -> None:
        old, new = os.fspath(source), os.fspath(target)  # type: ignore[call-overload]
        self._call("rename", new, lambda: self.disk.change(remove=old, name=new, file=self.disk.names[old]))

    def unlink(self, path: object) -> None:
        name = os.fspath(path)  # type: ignore[call-overload]

        def effect() -> None:
            if name not in self.disk.names:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            self.disk.change(remove=name)

        self._call("unlink", name, effect, (errno.EIO, errno.EROFS))

    def rmdir(self, path: object) -> None:
        name = os.fspath(path)  # type: ignore[call-overload]
        self._call("rmdir", name, lambda: self.disk.folders.discard(name))

    def mkdir(self, path: object, mode: int = 0o777) -> None:
        name = os.fspath(path)  # type: ignore[call-overload]
        if name in self.disk.folders:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._call("mkdir", name, lambda: self.disk.folders.add(name))

    def listdir(self, path: object) -> list[str]:
        name = os.fspath(path)  # type: ignore[call-overload]
        if name not in self.disk.folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        names = [each.rpartition("/")[2] for each in self.disk.names if each.rpartition("/")[0] == name]
        self.world.dice.shuffle(names)  # no order is promised
        listed: list[str] = self._call("listdir", name, lambda: names, (errno.EIO,))
        return listed

    def fstat(self, descriptor: int) -> SimpleNamespace:
        file = self._file(descriptor)
        return SimpleNamespace(st_mode=stat.S_IFREG | 0o600, st_size=len(file.data), st_ino=file.number)

    def statvfs(self, path: object) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=3, f_frsize=4096)

    @property
    def path(self) -> Any:
        """The part of `os.path` that asks for files."""
        return SimpleNamespace(
            abspath=os.path.abspath,
            lexists=self._exists,
            exists=self._exists,
            isdir=lambda path: os.fspath(path) in self.disk.folders,
        )

    def _exists(self, path: object) -> bool:
        name = os.fspath(path)  # type: ignore[call-overload]
        return name == "/" or name in self.disk.folders or name in self.disk.names

    def geteuid(self) -> int:
        return 1000

    def stat(self, path: object, follow_symlinks: bool = True) -> SimpleNamespace:
        name = os.fspath(path)  # type: ignore[call-overload]
        if name in self.disk.folders:
            return SimpleNamespace(st_uid=1000, st_mode=stat.S_IFDIR | 0o700)
        file = self.disk.names.get(name)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return SimpleNamespace(st_uid=1000, st_mode=stat.S_IFREG | 0o600, st_size=len(file.data), st_ino=file.number)

    lstat = stat

    @contextmanager
    def scandir(self, path: object) -> Iterator[list[SimpleNamespace]]:
        folder = os.fspath(path)  # type: ignore[call-overload]
        yield [
            SimpleNamespace(name=name, path=f"{folder}/{name}", is_file=lambda follow_symlinks=True: True)
            for name in sorted(self.listdir(folder))
        ]

    def _file(self, descriptor: int) -> File:
        file = self._open[descriptor]
        assert isinstance(file, File)
        return file

    def open_reader(self, path: object, mode: str, opener: Callable[[str, int], int]) -> Reader:
        """Stand for the builtin `open` of a file to read."""
        return Reader(self, opener(os.fspath(path), 0))  # type: ignore[call-overload]


class Reader(io.BytesIO):
    """A file open to read."""

    def __init__(self, system: SimulatedOs, descriptor: int) -> None:
        super().__init__(bytes(system._file(descriptor).data))
        self._system, self._descriptor = system, descriptor

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._system.close(self._descriptor)


class _Names:
    """Stands for `secrets`: temporary names that are the same in every run of a seed."""

    def __init__(self) -> None:
        self.count = 0

    def token_hex(self, size: int) -> str:
        self.count += 1
        return f"{self.count:0{2 * size}x}"


@contextmanager
def storage_on(system: SimulatedOs) -> Iterator[None]:
    """Have dbp's storage run on a simulated disk."""
    real_stat = Path.stat

    def path_stat(path: Path, *, follow_symlinks: bool = True) -> Any:
        return system.stat(path) if str(path).startswith(HOME) else real_stat(path, follow_symlinks=follow_symlinks)

    with (
        mock.patch.object(Path, "stat", path_stat),
        mock.patch.object(saving, "sleep", system.world.clock.sleep),
        mock.patch.object(atomic_files, "os", system),
        mock.patch.object(atomic_files, "secrets", _Names()),
        mock.patch.object(checkpoints, "os", system),
        mock.patch.object(array_file, "os", system),
        mock.patch.object(array_file, "open", system.open_reader, create=True),
    ):
        yield
