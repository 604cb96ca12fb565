"""Progress of a run, drawn on standard error: a live bar on a terminal, plain lines in a pipe.

Drawing must never end a run: a pipe that nobody reads any more or a terminal that has gone makes it silent, no more.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO, cast

from dbp.cli.output import QuietStream, clean, talk
from dbp.jobs.sweep_table import MemberResult
from dbp.training.observers import Observer, Plan, StepMetrics, Summary
from dbp.training.progress_lines import (
    Gauge,
    ProgressLines,
    count,
    describe_plan,
    describe_result,
    duration,
    short,
    step_of,
)
from dbp.training.sweep_recorder import run_in_words

__all__ = [
    "BarProgress",
    "Gauge",
    "LineProgress",
    "RunRecord",
    "Warnings",
    "count",
    "describe_plan",
    "describe_result",
    "duration",
    "on_a_live_terminal",
    "rows_progress",
    "short",
    "step_of",
]

_REFRESH_SECONDS = 0.1


@dataclass
class RunRecord(Observer):
    """Remembers how far a run came, so that its end can be told even if the run failed."""

    plan: Plan | None = None
    last_step: StepMetrics | None = None
    last_checkpoint: int | None = None
    members: list[MemberResult] = field(default_factory=list)  # those of several runs that ended
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the run was asked for."""
        return time.perf_counter() - self.began

    @property
    def kept(self) -> str:
        """What of the run is safe on disk, as words."""
        of_run = "" if self.plan is None or self.plan.run is None else f" of {run_in_words(self.plan.run)}"
        if self.last_checkpoint is not None:
            return f"a checkpoint of step {self.last_checkpoint}{of_run}"
        if self.plan is not None and self.plan.first_step > 1:
            return f"the checkpoint of step {self.plan.first_step - 1} that it started from"
        return f"no checkpoint{of_run} yet"

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        self.plan, self.last_step, self.last_checkpoint = plan, None, None

    def step(self, metrics: StepMetrics) -> None:
        """See `Observer`."""
        self.last_step = metrics

    def member_finished(self, result: MemberResult) -> None:
        """See `Observer`."""
        self.members.append(result)

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        """See `Observer`."""
        self.last_checkpoint = step


class Warnings(Observer):
    """Passes on warnings and is silent otherwise: `--quiet`."""

    def warning(self, text: str) -> None:
        """See `Observer`."""
        talk(f"warning: {text}")


class LineProgress(ProgressLines):
    """Plain lines on standard error."""

    def __init__(self) -> None:
        super().__init__(talk)


class BarProgress(Observer):
    """A live bar. Use as a context manager, so that the terminal is put back whatever happens."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        # Kept short of 80 columns: what matters most comes first, and rich cuts at the right.
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=Console(file=cast(TextIO, QuietStream()), markup=False, highlight=False),
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=True,  # what others print appears above the bar, not through it
        )
        self._task = self._progress.add_task("starting", total=None, numbers="")
        self._plan: Plan | None = None
        self._gauge = Gauge(1, 1)
        self._drawn_at = 0.0

    def __enter__(self) -> BarProgress:
        self._progress.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._progress.stop()

    def stage(self, text: str) -> None:
        """See `Observer`."""
        self._progress.update(self._task, description=clean(text), completed=0, numbers="")
        self._progress.tasks[0].total = None  # `update` takes None for "as it was"

    def reading(self, table: str, done: int, total: int) -> None:
        """See `Observer`."""
        numbers = f"{done >> 20:,} of {total >> 20:,} MiB"
        self._progress.update(self._task, total=total, completed=done, numbers=numbers)

    def loading(self, rows: int, total: int) -> None:
        """See `Observer`."""
        self._progress.update(self._task, total=total, completed=rows, numbers=f"{rows:,} of {total:,} rows")

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        self._plan = plan
        self._gauge = Gauge(plan.first_step, plan.max_steps)
        self._say(describe_plan(plan))
        done = plan.first_step - 1
        self._progress.update(
            self._task, total=plan.max_steps, completed=done, description=step_of(plan, done), numbers=""
        )

    def step(self, metrics: StepMetrics) -> None:
        """See `Observer`."""
        self._gauge.read(metrics)
        now = time.perf_counter()
        if self._plan is None or (now - self._drawn_at < _REFRESH_SECONDS and metrics.step != self._plan.max_steps):
            return
        self._drawn_at = now
        self._progress.update(
            self._task,
            completed=metrics.step,
            description=step_of(self._plan, metrics.step),
            numbers=self._gauge.show(metrics),
        )

    def warning(self, text: str) -> None:
        """See `Observer`."""
        self._say(f"warning: {text}")

    def member_finished(self, result: MemberResult) -> None:
        """See `Observer`."""
        self._say(describe_result(result))

    def finished(self, summary: Summary) -> None:
        """See `Observer`."""
        self._progress.stop()

    def _say(self, text: str) -> None:
        self._progress.console.print(clean(text), soft_wrap=True)


def on_a_live_terminal() -> bool:
    """Whether standard error is a terminal on which a line can be drawn again."""
    from rich.console import Console

    console = Console(stderr=True)
    return sys.stderr.isatty() and console.is_interactive and not console.is_dumb_terminal


@contextmanager
def rows_progress(what: str, shows: bool) -> Iterator[tuple[Callable[[int, int], None] | None, Callable[[str], None]]]:
    """Lend what hears how many rows of how many are done, and what hears of troubles: a bar on a terminal, no more elsewhere.

    What a library prints meanwhile is talk: standard output is for the result.
    """

    def warn(text: str) -> None:
        talk(f"warning: {text}")

    if not (shows and on_a_live_terminal()):
        with redirect_stdout(sys.stderr):
            yield None, warn
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[numbers]}", markup=False),
        TimeRemainingColumn(),
        console=Console(file=cast(TextIO, QuietStream()), markup=False, highlight=False),
        refresh_per_second=8,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=True,
    )
    began = time.perf_counter()
    task = bar.add_task(what, total=None, numbers="")

    def progress(done: int, rows: int) -> None:
        rate = done / max(time.perf_counter() - began, 1e-9)
        bar.update(
            task, total=rows, completed=done, numbers=f"{short(done)} of {short(rows)} rows  {short(rate)} rows/s"
        )

    with bar, redirect_stdout(sys.stderr):
        yield progress, lambda text: bar.console.print(clean(f"warning: {text}"), soft_wrap=True)
