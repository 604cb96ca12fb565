"""What users have called while a job trains: `dbp.train(job, callbacks=[...])`.

A callback watches; it can end no run. One that raises is told of in a warning that names it (on the screen and in log.txt) and is
called no more, while training goes on to the same bits: a logger whose server went away in the tenth hour costs its last
lines, not the job. Ctrl-C and other exceptions that are no `Exception` go through.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dbp.training.observers import Observer, Plan, StepMetrics, Summary

if TYPE_CHECKING:
    from dbp.jobs.sweep_table import MemberResult

Warn = Callable[[str], None]


class Callback(Observer):
    """Base class of callbacks: override what is of interest; all methods return nothing and may be left out.

    In order: ``started(plan)``, then for each step ``step(metrics)``, ``checkpoint(step, path, seconds)`` when one is safe, and
    once ``finished(summary)`` or ``failed(error)``. ``warning(text)`` comes at any time. Of a job of several runs each run begins
    with ``started``, its ``plan.run`` says which it is, and ends with ``member_finished(result)``. Training waits for each call.
    """

    def failed(self, error: BaseException) -> None:
        """Training that had started ended with an error, or was interrupted (KeyboardInterrupt). Close what is open."""


class CallbackWarning(UserWarning):
    """A callback raised an exception and is called no more."""


class Guarded(Observer):
    """Callbacks, each kept from ending the run. `recording` says where warnings are to be written down."""

    def __init__(self, callbacks: Sequence[Callback] = (), warn: Warn | None = None) -> None:
        _check(callbacks)
        self._alive = list(callbacks)
        self._warn = warn or _warn_in_python
        self._record: Warn = lambda text: None
        self._started = False

    @contextmanager
    def recording(self, record: Warn) -> Iterator[None]:
        """Have warnings written down by `record`, too, inside the block."""
        before, self._record = self._record, record
        try:
            yield
        finally:
            self._record = before

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Tell callbacks of an error that leaves the block, if training had started."""
        try:
            yield
        except BaseException as error:
            if self._started:
                how = error
                self._tell("failed", lambda callback: callback.failed(how))
            raise

    def stage(self, text: str) -> None:
        """See `Observer`."""
        self._tell("stage", lambda callback: callback.stage(text))

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        self._started = True
        self._tell("started", lambda callback: callback.started(plan))

    def step(self, metrics: StepMetrics) -> None:
        """See `Observer`."""
        if self._alive:
            self._tell("step", lambda callback: callback.step(metrics))

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        """See `Observer`."""
        self._tell("checkpoint", lambda callback: callback.checkpoint(step, path, seconds))

    def warning(self, text: str) -> None:
        """See `Observer`."""
        self._tell("warning", lambda callback: callback.warning(text))

    def worker_lost(self, text: str) -> None:
        """See `Observer`."""
        self._tell("worker_lost", lambda callback: callback.worker_lost(text))

    def member_finished(self, result: MemberResult) -> None:
        """See `Observer`."""
        self._tell("member_finished", lambda callback: callback.member_finished(result))

    def finished(self, summary: Summary) -> None:
        """See `Observer`."""
        self._tell("finished", lambda callback: callback.finished(summary))

    def _tell(self, what: str, call: Callable[[Callback], None]) -> None:
        for callback in list(self._alive):
            try:
                call(callback)
            except Exception as error:
                self._alive.remove(callback)
                text = (
                    f"callback {type(callback).__name__} raised in {what}(): {type(error).__name__}: {error}; it is called no "
                    "more, and training goes on"
                )
                self._record(text)
                self._warn(text)


def _check(callbacks: Sequence[object]) -> None:
    for callback in callbacks:
        if not isinstance(callback, Callback):
            seen = callback.__name__ if isinstance(callback, type) else type(callback).__name__
            raise TypeError(f"callbacks: {seen}; expected objects of classes made from dbp.Callback")


def _warn_in_python(text: str) -> None:
    warnings.warn(text, CallbackWarning, stacklevel=2)
