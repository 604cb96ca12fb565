"""Records what real code does to files below a folder, for `disk_model`; can fail a call, or be killed at one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash.disk_model import BLOCK, ROOT, Change, Contents, Event, Image, State, crash_states


class Killed(BaseException):
    """The process is dead; whatever it still does has no effect."""


@dataclass(frozen=True)
class Trouble:
    """At the call of this number, from 1: the process is killed before it, or the call fails with `code`.

    With `file`, counted are the fsyncs of that file below the root alone: where threads write, other numbers are new in each run.
    """

    call: int
    code: int | None = None  # None: killed
    file: str | None = None


class Recording:
    """What happens below `root` while `recording()` is open. Threads of the process may write at the same time."""

    def __init__(self, root: Path, skip: Callable[[str, Path], bool] = lambda what, path: False) -> None:
        self.root = Path(os.path.realpath(root))
        self.events: list[Event] = []
        self.kinds = {ROOT: "folder"}
        self.live = Image()
        self.start = Image()
        self.trouble: Trouble | None = None
        self.calls = 0
        self.fsyncs: dict[int, int] = {}  # how many there were of a file, by inode
        self._dead = False
        self._skip = skip  # (what, path): pretend that the call was made; for broken protocols
        self._descriptors: dict[int, int] = {}
        self._appending: set[int] = set()
        self._positions: dict[int, int] = {}
        self._lock = threading.RLock()
        self._adopt(self.root, ROOT)
        self.start = self.live.copy()

    def tell(self, told: Any) -> None:
        """Note that somebody was told something: from here on it must be true after any crash."""
        with self._lock:
            self.events.append(Event("told", told=told))

    def revive(self) -> None:
        """Another process goes on."""
        self._dead, self.trouble = False, None

    def inode(self, path: Path) -> int | None:
        """Which file is at a path now."""
        return self._find(path.relative_to(self.root).parts)

    # ---- the live file system, as the recorder knows it

    def _adopt(self, folder: Path, inode: int) -> None:
        for entry in os.scandir(folder):
            new = self._new("folder" if entry.is_dir() else "file")
            self.live.folders.setdefault(inode, {})[entry.name] = new
            if entry.is_dir():
                self._adopt(Path(entry.path), new)
            else:
                self.live.files[new] = Path(entry.path).read_bytes()

    def _new(self, kind: str) -> int:
        inode = len(self.kinds) + 1
        self.kinds[inode] = kind
        return inode

    def _relative(self, path: Any) -> tuple[str, ...] | None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return None
        absolute = Path(os.path.abspath(os.fsdecode(path)))
        return absolute.relative_to(self.root).parts if absolute.is_relative_to(self.root) else None

    def _find(self, parts: tuple[str, ...]) -> int | None:
        inode = ROOT
        for part in parts:
            found = self.live.folders.get(inode, {}).get(part)
            if found is None:
                return None
            inode = found
        return inode

    def _add(self, what: str, *changes: Change) -> None:
        for change in changes:
            self.live.apply(change)
        self.events.append(Event(what, changes))

    def _before(self) -> None:
        """Count a call; be killed at the one that is to be."""
        if self._dead:
            raise Killed
        self.calls += 1
        if self._fails() and self.trouble is not None and self.trouble.code is None:
            self._dead = True
            raise Killed

    def _fails(self) -> bool:
        return self.trouble is not None and self.trouble.file is None and self.calls == self.trouble.call

    def _fails_to_sync(self, inode: int) -> bool:
        if self.trouble is None or self.trouble.file is None:
            return self._fails()
        return inode == self._find(tuple(self.trouble.file.split("/"))) and self.fsyncs[inode] == self.trouble.call

    def _fail(self) -> None:
        if self._fails():
            assert self.trouble is not None
            raise OSError(self.trouble.code, os.strerror(self.trouble.code or 0))

    # ---- the calls

    @contextmanager
    def recording(self) -> Iterator[Recording]:
        names = [
            "open",
            "write",
            "pwrite",
            "fsync",
            "fdatasync",
            "close",
            "replace",
            "rename",
            "unlink",
            "mkdir",
            "rmdir",
            "link",
            "ftruncate",
        ]
        real = {name: getattr(os, name) for name in names}
        self._real = real
        patches = {name: getattr(self, f"_{name}") for name in names}
        for name, patch in patches.items():
            setattr(os, name, patch)
        try:
            yield self
        finally:
            for name, function in real.items():
                setattr(os, name, function)
            for descriptor in list(self._descriptors):  # of a killed process
                real["close"](descriptor)

    def _open(self, path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        parts = self._relative(path)
        if parts is None:
            return int(self._real["open"](path, flags, mode, **options))
        with self._lock:
            self._before()
            self._fail()
            known = self._find(parts)
            descriptor = int(self._real["open"](path, flags, mode, **options))
            if known is None:
                folder = self._find(parts[:-1])
                assert folder is not None
                known = self._new("file")
                self._add(f"create {parts[-1]}", Change("link", folder, folder, parts[-1], target=known))
            elif flags & os.O_TRUNC:
                self._add("truncate", Change("size", known, known))
            self._descriptors[descriptor] = known
            self._positions[descriptor] = 0
            (self._appending.add if flags & os.O_APPEND else self._appending.discard)(descriptor)
            return descriptor

    def _write(self, descriptor: int, data: Any) -> int:
        if descriptor not in self._descriptors:
            return int(self._real["write"](descriptor, data))
        with self._lock:
            inode = self._descriptors[descriptor]
            if descriptor in self._appending:
                self._positions[descriptor] = len(self.live.files.get(inode, b""))
            written = self._put(descriptor, bytes(data), self._positions[descriptor], self._real["write"])
            self._positions[descriptor] += written
            return written

    def _pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        if descriptor not in self._descriptors:
            return int(self._real["pwrite"](descriptor, data, offset))
        with self._lock:
            return self._put(descriptor, bytes(data), offset, lambda fd, part: self._real["pwrite"](fd, part, offset))

    def _put(self, descriptor: int, data: bytes, offset: int, write: Callable[[int, bytes], int]) -> int:
        self._before()
        self._fail()
        inode = self._descriptors[descriptor]
        written = int(write(descriptor, data))
        changes, place = [], offset
        while place < offset + written:
            end = min(place - place % BLOCK + BLOCK, offset + written)
            changes.append(Change("block", inode, inode, offset=place, data=data[place - offset : end - offset]))
            place = end
        self._add("write", *changes)
        return written

    def _ftruncate(self, descriptor: int, size: int) -> None:
        self._real["ftruncate"](descriptor, size)
        if descriptor in self._descriptors:
            with self._lock:
                inode = self._descriptors[descriptor]
                self._add("truncate", Change("size", inode, inode, offset=size))

    def _fsync(self, descriptor: int) -> None:
        if descriptor not in self._descriptors:
            self._real["fsync"](descriptor)
            return
        with self._lock:
            self._before()
            inode = self._descriptors[descriptor]
            self.fsyncs[inode] = self.fsyncs.get(inode, 0) + 1
            if self._fails_to_sync(inode):
                assert self.trouble is not None
                self.events.append(Event("failed fsync", forgotten=inode))
                raise OSError(self.trouble.code, os.strerror(self.trouble.code or 0))
            if not self._skip(f"fsync {self.kinds[inode]}", self.root):
                self.events.append(Event("fsync", synced=inode))

    _fdatasync = _fsync

    def _close(self, descriptor: int) -> None:
        if self._descriptors.pop(descriptor, None) is not None and not self._dead:
            with self._lock:
                self._before()
                self._real["close"](descriptor)  # close frees the number even where it fails
                self._fail()
                return
        self._real["close"](descriptor)

    def _replace(self, source: Any, target: Any, **options: Any) -> None:
        old, new = self._relative(source), self._relative(target)
        if old is None or new is None:
            self._real["replace"](source, target, **options)
            return
        with self._lock:
            self._before()
            self._fail()
            self._real["replace"](source, target, **options)
            folder, inode = self._find(old[:-1]), self._find(old)
            assert folder is not None
            assert inode is not None
            assert old[:-1] == new[:-1], "files are renamed within their folder"
            self._add(f"rename to {new[-1]}", Change("rename", folder, folder, old[-1], new[-1], inode))

    _rename = _replace

    def _link(self, source: Any, target: Any, **options: Any) -> None:
        old, new = self._relative(source), self._relative(target)
        if old is None or new is None:
            self._real["link"](source, target, **options)
            return
        with self._lock:
            self._before()
            self._fail()
            self._real["link"](source, target, **options)
            folder, inode = self._find(new[:-1]), self._find(old)
            assert folder is not None
            assert inode is not None
            self._add(f"link {new[-1]}", Change("link", folder, folder, new[-1], target=inode))

    def _unlink(self, path: Any, **options: Any) -> None:
        self._remove("unlink", path, options)

    def _rmdir(self, path: Any, **options: Any) -> None:
        self._remove("rmdir", path, options)

    def _remove(self, call: str, path: Any, options: dict[str, Any]) -> None:
        parts = self._relative(path)
        if parts is None or options.get("dir_fd") is not None:
            self._real[call](path, **options)
            return
        with self._lock:
            self._before()
            self._fail()
            self._real[call](path, **options)
            folder = self._find(parts[:-1])
            assert folder is not None
            self._add(f"{call} {parts[-1]}", Change("unlink", folder, folder, parts[-1]))

    def _mkdir(self, path: Any, mode: int = 0o777, **options: Any) -> None:
        parts = self._relative(path)
        if parts is None:
            self._real["mkdir"](path, mode, **options)
            return
        with self._lock:
            self._before()
            self._fail()
            self._real["mkdir"](path, mode, **options)
            folder = self._find(parts[:-1])
            assert folder is not None
            new = self._new("folder")
            self._add(f"mkdir {parts[-1]}", Change("link", folder, folder, parts[-1], target=new))

    def check_complete(self) -> None:
        """Fail if anything below the root was written in a way that was not recorded."""
        found: Contents = {}
        for path in sorted(self.root.rglob("*")):
            found[path.relative_to(self.root).as_posix()] = path.read_bytes() if path.is_file() else None
        assert self.live.contents(self.kinds) == found

    def crash_states(self, subsets: int, seed: int = 0, first: int = 0) -> Iterator[State]:
        """See `disk_model.crash_states`."""
        return crash_states(self.start, self.kinds, self.events, subsets, seed, first)
