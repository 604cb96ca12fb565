"""Progress of a run, drawn on standard error: a live bar on a terminal, plain lines in a pipe.

Drawing must never end a run: a pipe that nobody reads any more or a terminal that has gone makes it silent, no more.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO, cast

from dbp.cli.output import QuietStream, clean, talk
from dbp.jobs.sweep_table import MemberResult
from dbp.training.observers import Observer, Plan, StepMetrics, Summary
from dbp.training.sweep_recorder import run_in_words

LINE_EVERY_SHARE = 0.05  # of the steps
LINE_EVERY_SECONDS = 10.0
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


class Gauge:
    """Turns steps into the numbers shown: loss, the last validation there was, rows a second, workers, time left."""

    def __init__(self, first_step: int, max_steps: int) -> None:
        self._first_step = first_step
        self._max_steps = max_steps
        self._began = time.perf_counter()
        self._seconds_per_row: float | None = None  # an exponential mean over about ten steps
        self._validation: list[str] = []

    def read(self, metrics: StepMetrics) -> None:
        """Take a step into account."""
        per_row = metrics.seconds / max(1, metrics.rows)
        before = self._seconds_per_row
        self._seconds_per_row = per_row if before is None else 0.9 * before + 0.1 * per_row
        if metrics.validation_loss is not None:
            self._validation = [f"validation {metrics.validation_loss:.4g}"]
            if metrics.validation_accuracy is not None:
                self._validation.append(f"accuracy {metrics.validation_accuracy:.1%}")

    def show(self, metrics: StepMetrics) -> str:
        """Return the numbers after a step that was read, for one line."""
        numbers = [f"loss {metrics.loss:.4g}", *self._validation]
        if self._seconds_per_row:
            numbers.append(f"{short(1 / self._seconds_per_row)} rows/s")
        if metrics.workers:
            numbers.append(count(metrics.workers, "worker"))
        done, left = metrics.step - self._first_step + 1, self._max_steps - metrics.step
        if done > 0 and left > 0:  # by the wall clock: validation and checkpoints take time too
            numbers.append(f"{duration((time.perf_counter() - self._began) / done * left)} left")
        return "  ".join(numbers)


class LineProgress(Observer):
    """Plain lines: the first and last step, and between them one for every 5 % of the steps or every ten seconds."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._gauge = Gauge(1, 1)
        self._last: StepMetrics | None = None
        self._printed_step = 0
        self._printed_at = 0.0

    def stage(self, text: str) -> None:
        """See `Observer`."""
        talk(f"{text} ...")

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        self._plan, self._last, self._printed_step = plan, None, 0
        self._gauge = Gauge(plan.first_step, plan.max_steps)
        talk(describe_plan(plan))

    def step(self, metrics: StepMetrics) -> None:
        """See `Observer`."""
        self._gauge.read(metrics)
        self._last = metrics
        if self._plan is not None and self._due(metrics.step, self._plan):
            self._print(metrics, self._plan)

    def warning(self, text: str) -> None:
        """See `Observer`."""
        talk(f"warning: {text}")

    def member_finished(self, result: MemberResult) -> None:
        """See `Observer`."""
        self._print_last()
        talk(describe_result(result))
        self._plan = None

    def finished(self, summary: Summary) -> None:
        """See `Observer`: where a rule ended the run, no one knew that this step would be the last."""
        self._print_last()

    def _print_last(self) -> None:
        if self._plan is not None and self._last is not None and self._last.step != self._printed_step:
            self._print(self._last, self._plan)

    def _print(self, metrics: StepMetrics, plan: Plan) -> None:
        self._printed_step, self._printed_at = metrics.step, time.perf_counter()
        talk(f"{step_of(plan, metrics.step)}  {self._gauge.show(metrics)}")

    def _due(self, step: int, plan: Plan) -> bool:
        if step in (plan.first_step, plan.max_steps):
            return True
        share = LINE_EVERY_SHARE * (plan.max_steps - plan.first_step + 1)
        return step - self._printed_step >= share or time.perf_counter() - self._printed_at >= LINE_EVERY_SECONDS


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
        self._progress.update(self._task, description=clean(text))

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


def step_of(plan: Plan, step: int) -> str:
    """Return how far a run is: ``step 10/200``, with ``run 3/8`` before it where there are several."""
    run = "" if plan.run is None else f"run {plan.run.number}/{plan.run.count}  "
    return f"{run}step {step}/{plan.max_steps}"


def describe_result(result: MemberResult) -> str:
    """Return the line that says how one of several runs ended."""
    if result.loss is None:
        return f"run {result.number}: {result.state}: {result.message}"
    loss = (result.validation or {}).get("loss")
    validation = "" if loss is None else f", validation {loss:.4g}"
    return f"run {result.number}: {result.state} after step {result.steps}: loss {result.loss:.4g}{validation}"


def describe_plan(plan: Plan) -> str:
    """Return the line that says what is about to be trained."""
    name = plan.job_id if plan.run is None else f"{plan.job_id}, {run_in_words(plan.run)}"
    start = f", going on at step {plan.first_step}" if plan.first_step > 1 else ""
    held = f" + {plan.validation_rows:,} held out" if plan.validation_rows else ""
    who = count(plan.workers, "worker") if plan.workers else "this process"
    return (
        f"{name}: {count(plan.rows, 'row')}{held}, {count(plan.features, 'feature')}, {count(plan.outputs, 'output')}, "
        f"{count(plan.parameters, 'parameter')}, {who}{start}"
    )


def count(number: int, noun: str) -> str:
    """Return a number of things in words: 1 row, 1,797 rows."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a time for people: 0.4 s, 12 s, 3:05, 2:00:09."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def short(number: float) -> str:
    """Return a rate for people: 950, 12.3k, 4.5M."""
    number = float(f"{number:.3g}")  # first, or 999,999 would be 1e+03k
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.0f}"
