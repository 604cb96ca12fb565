"""A file of lines that outlives trouble with its disk: what cannot be written is kept in memory and written later."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dbp.errors import StorageError
from dbp.storage.line_file import LineFile

MOST_UNSYNCED = 10_000  # lines; then they are synced unasked


class KeptLines:
    """Appends lines to `path`. StorageError when the file cannot be opened; later trouble waits for `sync`.

    `on_trouble` hears of a line that could not be written, once until one can. A failed fsync may have lost any line since the
    last one that went well, so those are written anew: a reader may find lines twice, and never misses one. One thread may append
    while another syncs: it does not wait for the disk, and its lines are of the next sync.
    """

    def __init__(self, path: Path, on_trouble: Callable[[StorageError], None] = lambda error: None) -> None:
        self._file = LineFile(path)
        self._on_trouble = on_trouble
        self._lock = threading.Lock()  # of the lines
        self._syncing = threading.Lock()  # one sync at a time
        self._waiting: deque[str] = deque()
        self._written: deque[str] = deque()  # since the last sync
        self._troubled = False

    def append(self, line: str) -> None:
        """Write one line, now or when the disk takes it; `line` itself holds no line break (ValueError)."""
        if "\n" in line:
            raise ValueError("a line holds no line break")
        try:
            with self._lock:
                self._waiting.append(line)
                self._write()
            if len(self._written) >= MOST_UNSYNCED:
                self.sync()
        except StorageError as error:
            if not self._troubled:
                self._troubled = True  # first, because whoever hears of it may append a line
                self._on_trouble(error)

    def sync(self) -> None:
        """Make all lines survive a loss of power. StorageError if it cannot be done; then it can be tried again."""
        with self._syncing:
            with self._lock:
                self._write()
                covered = len(self._written)
            try:
                self._file.sync()
            except StorageError:
                with self._lock:
                    self._waiting.extendleft(reversed(self._written))
                    self._written.clear()
                raise
            with self._lock:
                for _ in range(covered):
                    self._written.popleft()

    def close(self) -> None:
        """Close the file; closing twice does nothing. Lines that could not be written are lost: `sync` would have said so."""
        with suppress(StorageError):
            self._file.close()

    def _write(self) -> None:
        """Write the lines that wait; the lock is held."""
        while self._waiting:
            self._file.append(self._waiting[0])
            self._written.append(self._waiting.popleft())
        self._troubled = False
