"""A file of lines that only ever grows: metrics and logs.

Each line is one write call on a file opened for appending, so a process that is killed tears at most its last line; the
next writer starts on a fresh line, and a reader skips what is torn.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

from dbp.storage.atomic_files import storage_error


class LineFile:
    """Appends lines to `path`. StorageError when the file cannot be opened or a line cannot be written whole.

    One thread may append while another syncs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()  # of what is known of the file's end
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            size = os.fstat(self._descriptor).st_size
            self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"
        except OSError as error:
            raise storage_error("be opened for appending", path, error) from error

    def append(self, line: str) -> None:
        """Write one line; `line` itself holds no line break (ValueError). StorageError if it cannot be written whole."""
        if "\n" in line:
            raise ValueError("a line holds no line break")
        with self._lock:
            data = left = (b"\n" if self._torn else b"") + line.encode("utf-8") + b"\n"
            try:
                while left:  # after a part of it, the rest goes on or says why it cannot: the disk is full, the quota used up, ...
                    left = left[os.write(self._descriptor, left) :]
                    self._torn = bool(left)
            except OSError as error:
                raise storage_error("be appended to", self.path, error, len(data)) from error

    def sync(self) -> None:
        """Make all lines survive a loss of power; StorageError if it cannot be done."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            with self._lock:
                self._torn = True  # what is there now may be lost, the end of its last line too
            raise storage_error("be made durable", self.path, error) from error

    def close(self) -> None:
        """Close the file; closing twice does nothing. StorageError where that fails; it is closed all the same."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            try:
                os.close(descriptor)
            except OSError as error:
                raise storage_error("be closed", self.path, error) from error

    def __enter__(self) -> LineFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
