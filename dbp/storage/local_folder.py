"""A folder on this machine's file system, a network file system included."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dbp.storage.atomic_files import atomic_path, make_folders, storage_error, sync_folder, write_bytes
from dbp.storage.folder import MissingFileError, checked_name, limited

Result = TypeVar("Result")


class LocalFolder:
    """See `Folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def uri(self) -> str:
        """See `Folder`."""
        return str(self.path)

    def child(self, name: str) -> LocalFolder:
        """See `Folder`."""
        return LocalFolder(self._at(name))

    def names(self) -> list[str]:
        """See `Folder`."""
        try:
            return sorted(os.listdir(self.path))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error("be read", self.path, error) from error

    def exists(self, name: str) -> bool:
        """See `Folder`."""
        path = self._at(name)
        try:
            return stat.S_ISREG(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise storage_error("be looked at", path, error) from error

    def size(self, name: str) -> int:
        """See `Folder`."""
        return self._reading(name, lambda path: path.stat().st_size)

    def read(self, name: str, limit: int | None = None) -> bytes:
        """See `Folder`."""

        def read(path: Path) -> bytes:
            with open(path, "rb") as file:
                return file.read() if limit is None else file.read(limit + 1)

        return limited(self._at(name), self._reading(name, read), limit)

    def read_part(self, name: str, offset: int, length: int) -> bytes:
        """See `Folder`."""

        def read(path: Path) -> bytes:
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(length)

        return self._reading(name, read)

    def write(self, name: str, data: bytes) -> None:
        """See `Folder`."""
        path = self._at(name)
        _make(path.parent)
        write_bytes(path, data)

    def create(self, name: str, data: bytes) -> bool:
        """See `Folder`. A hard link makes it: of several, the file system lets one succeed, over NFS too."""
        path = self._at(name)
        _make(path.parent)
        temporary = path.parent / f".dbp-{secrets.token_hex(12)}.tmp"
        write_bytes(temporary, data)
        try:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
            sync_folder(path.parent)
            return self.read(name, len(data) + 1) == data  # over NFS a link can be made and its reply lost
        except OSError as error:
            raise storage_error("be made", path, error) from error
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def upload(self, local: Path, name: str) -> None:
        """See `Folder`."""
        path = self._at(name)
        _make(path.parent)
        _copy(local, path)

    def download(self, name: str, local: Path) -> None:
        """See `Folder`."""
        self._reading(name, lambda path: path.stat())
        _copy(self._at(name), local)

    def remove(self, name: str) -> None:
        """See `Folder`."""
        path = self._at(name)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error("be removed", path, error) from error
        sync_folder(path.parent)

    def clear(self) -> None:
        """See `Folder`. Links are removed, never followed."""
        try:
            shutil.rmtree(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error("be removed", self.path, error) from error

    def _at(self, name: str) -> Path:
        return self.path / checked_name(name)

    def _reading(self, name: str, read: Callable[[Path], Result]) -> Result:
        path = self._at(name)
        try:
            return read(path)
        except FileNotFoundError as error:
            raise MissingFileError(f"{path}: no such file") from error
        except OSError as error:
            raise storage_error("be read", path, error) from error


def _make(folder: Path) -> None:
    try:
        if not folder.is_dir():
            make_folders(folder)
    except OSError as error:
        raise storage_error("be made", folder, error) from error


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        try:
            shutil.copyfile(source, temporary)
        except OSError as error:
            raise storage_error("be written", target, error) from error
