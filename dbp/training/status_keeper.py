"""Keeps a job's status file while the job is under way, and its heart beating.

What changes a job's state is written at once, steps at most once a second. A thread writes when nothing else has for a few
seconds, so that a long step, or a long wait, is not taken for a death.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

from dbp.errors import DbpError, StorageError
from dbp.jobs.clock import utc_now
from dbp.jobs.status import Status, write_status

STEPS_S = 1.0  # steps are written no more often than this
HEARTBEAT_S = (
    4.0  # and the heart beats at least this often; readers give a job up after HEARTBEAT_LOST_S, many times as much
)


class StatusKeeper:
    """Writes `status` to `path` at once and keeps it up to date until `close`."""

    def __init__(self, path: Path, status: Status, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._path = path
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._trouble: DbpError | None = None
        self._put(status)
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._heart.start()

    @property
    def status(self) -> Status:
        """What was written last, or will be."""
        return self._status

    def write(self, status: Status) -> None:
        """Write it now. StorageError if it cannot be written."""
        with self._lock:
            self._put(status)

    def note(self, status: Status) -> None:
        """Write it soon: now, if the last time is a second ago. StorageError if it cannot be written."""
        with self._lock:
            self._status = status
            if self._trouble is not None or time.monotonic() - self._written > STEPS_S:
                self._put(status)

    def close(self) -> None:
        """End the heartbeat. What the file says stays."""
        self._closed.set()
        self._heart.join()

    def _put(self, status: Status) -> None:
        if self._trouble is not None:
            raise self._trouble
        self._status = replace(status, heartbeat=utc_now())
        self._written = time.monotonic()
        write_status(self._path, self._status)

    def _beat(self) -> None:
        while not self._closed.wait(max(0.0, self._written + self._heartbeat_s - time.monotonic())):
            with self._lock:
                if self._closed.is_set() or time.monotonic() - self._written < self._heartbeat_s:
                    continue
                try:
                    self._put(self._status)
                except StorageError:
                    pass  # the next write that training itself needs says so; a full disk may have room again by then
                except DbpError as error:  # someone else's job directory now: training hears of it with its next step
                    self._trouble = error
                    return
