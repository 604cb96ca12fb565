"""An object store in memory, ``chaos://``, that fails as it is told: which calls of which operation, and how."""

from __future__ import annotations

import errno
import io
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from dbp.storage import remote
from dbp.storage.uris import SCHEMES

Kind = Literal["503", "403", "full", "truncated", "reply lost", "flipped"]


@dataclass
class Fault:
    """`calls`: from 1, those of `operation` (put, get, list, info, remove) on names that contain `name`; None: all of them."""

    operation: str
    kind: Kind
    calls: tuple[int, ...] | None = (1,)
    name: str = ""
    seen: int = field(default=0, init=False)

    def strikes(self, operation: str, path: str) -> bool:
        if operation != self.operation or self.name not in path:
            return False
        self.seen += 1
        return self.calls is None or self.seen in self.calls


class ChaosFileSystem(MemoryFileSystem):
    """See above."""

    protocol = "chaos"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    faults: ClassVar[list[Fault]] = []
    calls: ClassVar[Counter[str]] = Counter()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        path = str(path).removeprefix("chaos://").strip("/")
        return f"/{path}" if path else ""

    def _meet(self, operation: str, path: str) -> set[str]:
        self.calls[operation] += 1
        kinds = {fault.kind for fault in self.faults if fault.strikes(operation, path)}
        if "503" in kinds:
            raise OSError(errno.EBUSY, "Please reduce your request rate.")
        if "403" in kinds:
            raise PermissionError("Access Denied")
        if "full" in kinds:
            raise OSError(errno.ENOSPC, "Storage backend has reached its minimum free drive threshold")
        return kinds

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        kinds = self._meet("put", path)
        super().pipe_file(path, value, mode, **options)
        if "reply lost" in kinds:
            raise TimeoutError

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        with open(lpath, "rb") as file:
            self.pipe_file(rpath, file.read())

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        kinds = self._meet("get", path)
        data: bytes = super().cat_file(path, start, end, **options)
        if "flipped" in kinds:
            data = data[:-1] + bytes([data[-1] ^ 1])
        return data[: len(data) // 2] if "truncated" in kinds else data

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        opened = super()._open(path, mode, **options)
        return _ChaosFile(self, path, opened.getvalue()) if mode == "rb" else opened

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        data = self.cat_file(rpath)
        with open(lpath, "wb") as file:
            file.write(data)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self._meet("list", path)
        return super().ls(path, detail, **options)

    def info(self, path: str, **options: Any) -> Any:
        self._meet("info", path)
        return super().info(path, **options)

    def rm_file(self, path: str) -> None:
        self._meet("remove", path)
        if self._strip_protocol(path) not in self.store:
            raise FileNotFoundError(path)
        super().rm_file(path)


class _ChaosFile(io.BytesIO):
    """An open file, each read of which is a get."""

    def __init__(self, files: ChaosFileSystem, path: str, data: bytes) -> None:
        super().__init__(data)
        self._files, self._path, self.size = files, path, len(data)

    def read(self, length: int | None = -1) -> bytes:
        kinds = self._files._meet("get", self._path)
        data = super().read(length)
        return data[: len(data) // 2] if "truncated" in kinds else data


@pytest.fixture
def chaos(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[ChaosFileSystem]]:
    """The store, empty and without faults; waits between tries are short."""
    fsspec.register_implementation("chaos", ChaosFileSystem, clobber=True)
    monkeypatch.setitem(SCHEMES, "chaos", None)
    monkeypatch.setattr(remote, "sleep", lambda seconds: None)
    monkeypatch.setitem(remote._LOCKS, "chaos", threading.RLock())
    ChaosFileSystem.store.clear()
    ChaosFileSystem.faults.clear()
    ChaosFileSystem.calls.clear()
    ChaosFileSystem.pseudo_dirs[:] = [""]
    yield ChaosFileSystem
    ChaosFileSystem.faults.clear()
