"""The records of a job before its training begins: state PENDING, what it waits for, and a heart that beats meanwhile."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import replace

from dbp.errors import StorageError
from dbp.jobs.clock import utc_now
from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.jobs.status import State, Status, WorkersRange, next_attempt, read_status
from dbp.storage.kept_lines import KeptLines
from dbp.training.observers import Summary
from dbp.training.status_keeper import StatusKeeper


class Waiting:
    """Keeps the status of a job that waits, in its directory, which is locked. Steps and loss stay those it has reached.

    `attempt` is the number of the attempt that waits; None: the next one.
    """

    def __init__(self, directory: JobDirectory, job: Job, message: str, attempt: int | None = None) -> None:
        before = read_status(directory.status_file)
        now = utc_now()
        status = Status(
            job=directory.id,
            state="PENDING",
            step=before.step if before else 0,
            max_steps=job.training.max_steps,
            loss=before.loss if before else None,
            message=message,
            attempt=attempt or next_attempt(before),
            heartbeat=now,
            pid=os.getpid(),
            host=socket.gethostname(),
            started=now,
            workers=0,
            runs=before.runs if before else None,
            workers_range=WorkersRange.of(job),
        )
        self._directory = directory
        self._log = KeptLines(directory.log_file)
        self._keeper = StatusKeeper(directory, status)
        self._logged = False
        self.closed = False

    @property
    def attempt(self) -> int:
        """The number of the attempt that waits."""
        return self._keeper.status.attempt

    def waits_for(self, message: str) -> None:
        """Say what the job waits for. The log has the first: how much is free changes with every other job."""
        if message == self._keeper.status.message:
            return
        self._keeper.write(replace(self._keeper.status, message=message))
        if not self._logged:
            self._logged = True
            self.log(message)

    def log(self, text: str) -> None:
        """Append a line to the job's log."""
        self._log.append(f"{utc_now()} {text}".replace("\n", " | "))
        self._directory.soon(self._directory.log_file)

    def ended(self, state: State, message: str) -> None:
        """The job ended before it was trained."""
        self._keeper.write(replace(self._keeper.status, state=state, message=message))
        self.log(f"{state}: {message}")

    def done_already(self, summary: Summary) -> None:
        """There was nothing left to train."""
        status = replace(self._keeper.status, step=summary.step, loss=summary.loss, model_step=summary.model_step)
        self._keeper.write(replace(status, state=summary.state, message=summary.reason, rule=summary.rule))

    def close(self) -> None:
        """End the heartbeat; may be called twice. What the status says stays: whoever trains now goes on from there."""
        if not self.closed:
            self.closed = True
            self._keeper.close()
            with suppress(StorageError):
                self._log.sync()
            self._log.close()
