"""Keeps a job's status file while the job is under way, and its heart beating.

What changes a job's state is written at once, steps at most once a second. A thread writes when nothing else has for a few
seconds, so that a long step, or a long wait, is not taken for a death.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from dbp.errors import DbpError, StorageError
from dbp.jobs.clock import utc_now
from dbp.jobs.directory import JobDirectory
from dbp.jobs.status import Status, write_status

STEPS_S = 1.0  # steps are written no more often than this
HEARTBEAT_S = (
    4.0  # and the heart beats at least this often; readers give a job up after HEARTBEAT_LOST_S, many times as much
)


class StatusKeeper:
    """Writes `status` to the directory's status file at once and keeps it up to date until `close`."""

    def __init__(
        self,
        directory: JobDirectory,
        status: Status,
        heartbeat_s: float = HEARTBEAT_S,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._directory = directory
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._warn = warn
        self._behind = False
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

    def write_if_possible(self, status: Status) -> None:
        """Write it now. Where storage does not take it there is a warning, and the next step or heartbeat writes it."""
        with self._lock:
            self._try(status)

    def note(self, status: Status) -> None:
        """Write it soon: now, if the last time is a second ago and storage takes it."""
        with self._lock:
            self._status = status
            if self._trouble is not None or time.monotonic() - self._written > STEPS_S:
                self._try(status)

    def close(self) -> None:
        """End the heartbeat. What the file says stays."""
        self._closed.set()
        self._heart.join()

    def _try(self, status: Status) -> None:
        try:
            self._put(status)
        except StorageError as error:
            if not self._behind:
                self._behind = True
                self._warn(f"{error}; training goes on, and the status is behind until it can be written")

    def _put(self, status: Status) -> None:
        if self._trouble is not None:
            raise self._trouble
        self._status = replace(status, heartbeat=utc_now())
        self._written = time.monotonic()
        self._directory.hold.check_cheaply()
        write_status(self._directory.status_file, self._status)
        self._behind = False
        self._directory.soon(self._directory.status_file)

    def _beat(self) -> None:
        while not self._closed.wait(max(0.0, self._written + self._heartbeat_s - time.monotonic())):
            with self._lock:
                if self._closed.is_set() or time.monotonic() - self._written < self._heartbeat_s:
                    continue
                try:
                    self._put(self._status)
                except StorageError:
                    pass  # the next write of training's own says so; a full disk may have room again by then
                except DbpError as error:  # someone else's job directory now: training hears of it with its next step
                    self._trouble = error
                    return
