"""What a folder is to dbp, wherever it is: whole files, read and written as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from dbp.errors import StorageError


class MissingFileError(StorageError):
    """There is no file of that name in the folder."""


class Folder(Protocol):
    """A folder of files. Names are relative, parts separated by ``/``. Folders need not be made: writing a file makes them."""

    @property
    def uri(self) -> str:
        """The URI, or the absolute path of a local folder."""
        ...

    def child(self, name: str) -> Folder:
        """Return a folder in this one, which need not be there."""
        ...

    def names(self) -> list[str]:
        """Return the names of files and folders in it, sorted; [] where it is not there."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        ...

    def size(self, name: str) -> int:
        """Return a file's bytes. MissingFileError."""
        ...

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return a file's contents; one of more than `limit` bytes is a StorageError. MissingFileError."""
        ...

    def read_part(self, name: str, offset: int, length: int) -> bytes:
        """Return `length` bytes of a file from `offset` on; fewer at its end. MissingFileError."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Make a file hold `data`, replacing what was there."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Make a file unless there is one; return whether it is ours. `data` is unlike anybody else's."""
        ...

    def upload(self, local: Path, name: str) -> None:
        """Make a file hold what a local file holds."""
        ...

    def download(self, name: str, local: Path) -> None:
        """Make a local file hold what a file holds. MissingFileError."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""
        ...

    def clear(self) -> None:
        """Remove all files and folders in it, and a local folder itself."""
        ...


def checked_name(name: str) -> str:
    """Return a name in a folder as it is. ValueError where it would lead elsewhere."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError(f"{name!r} is no name in a folder")
    return name


def limited(shown: str | Path, data: bytes, limit: int | None) -> bytes:
    """Return what was read. StorageError where it is more than `limit` bytes; `shown` is where it was read."""
    if limit is not None and len(data) > limit:
        raise StorageError(f"{shown}: larger than {limit:,} bytes; expected a smaller file")
    return data
