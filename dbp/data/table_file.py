"""A file that holds a table, wherever it is: what readers of formats ask of it."""

from __future__ import annotations

import io
import os
import weakref
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO

from dbp.data.table import stream_fingerprint
from dbp.errors import DataError


def kept_by(owner: object, file: BinaryIO) -> BinaryIO:
    """Return the file, which is closed as soon as its owner is gone: left to itself, Python warns of it, whenever that is."""
    weakref.finalize(owner, file.close)
    return file


class PlacedReader(io.RawIOBase):
    """What `open_ranges` returns where Python has no file for it: subclasses read at `_place`, move it, and know how to seek."""

    _place: int

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._place


class TableFile(ABC):
    """One file. `path` is what the user wrote, for messages. Nothing is read until asked for."""

    path: str

    @abstractmethod
    def size(self) -> int:
        """Return its bytes."""

    def require_size(self, expected: int) -> None:
        """Raise DataError where it is not as large as it was when somebody looked through it."""
        if (size := self.size()) != expected:
            raise DataError(f"{self.path}: {size:,} bytes; it had {expected:,} when the job began")

    @abstractmethod
    def open_ranges(self) -> BinaryIO:
        """Return an open file that reads what is asked for."""

    def has_ranges(self) -> bool:
        """Whether `open_ranges` brings what is asked for and nothing else, in every process that this object is sent to."""
        return True

    @abstractmethod
    def local(self) -> Path:
        """Return a path on this machine with all the bytes, which can be opened as long as this object lives."""

    def fingerprint(self, edge_bytes: int | None = None) -> str:
        """Return a SHA-256 (hex) of the contents, see `file_fingerprint`; or of the size and this many bytes at either end."""
        with self.open_ranges() as file:
            return stream_fingerprint(file, self.size(), edge_bytes)


class LocalFile(TableFile):
    """A file of this machine's file system."""

    def __init__(self, place: Path, path: str) -> None:
        self._place = place
        self.path = path

    def __reduce__(self) -> tuple[type[LocalFile], tuple[Path, str]]:
        return LocalFile, (Path(os.path.abspath(self._place)), self.path)

    def require(self) -> None:
        """Raise DataError unless it is a file that can be read and is not empty; FileNotFoundError, NotADirectoryError."""
        try:
            size = self._place.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            raise
        except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be looked into
            raise DataError(
                f"{self.path}: cannot be read ({getattr(error, 'strerror', None) or error}); expected a file"
            ) from error
        if not os.access(self._place, os.R_OK):
            raise DataError(f"{self.path}: permission denied; expected a file that can be read")
        if size == 0:
            raise DataError(f"{self.path}: the file is empty; expected a table")

    def size(self) -> int:
        """See `TableFile`."""
        return self._place.stat().st_size

    def open_ranges(self) -> BinaryIO:
        """See `TableFile`."""
        return open(self._place, "rb")

    def local(self) -> Path:
        """See `TableFile`."""
        return self._place
