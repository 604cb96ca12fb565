"""What loggers share that keep one thing open while a run lasts."""

from __future__ import annotations

from dbp.jobs.sweep_table import MemberResult
from dbp.training.callbacks import Callback
from dbp.training.observers import Summary


class RunFileLogger(Callback):
    """Closes at each end that a run can have; of several runs at the end of each, until the next begins."""

    def member_finished(self, result: MemberResult) -> None:
        """Close what is open."""
        self._close()

    def finished(self, summary: Summary) -> None:
        """Close what is open."""
        self._close()

    def failed(self, error: BaseException) -> None:
        """Close what is open."""
        self._close()

    def _close(self) -> None:
        """Close what is open, if anything is."""
        raise NotImplementedError
