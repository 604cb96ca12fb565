"""Progress in words: what a run is, how far it came, and plain lines for whatever takes lines (a pipe, a log)."""

from __future__ import annotations

import time
from collections.abc import Callable

from dbp.jobs.sweep_table import MemberResult
from dbp.training.observers import Observer, Plan, StepMetrics, Summary
from dbp.training.sweep_recorder import run_in_words

LINE_EVERY_SHARE = 0.05  # of the steps
LINE_EVERY_SECONDS = 10.0


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


class ProgressLines(Observer):
    """Plain lines, given to `say` one by one: the first and last step, and between them one for every 5 % of the steps or every
    ten seconds."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._plan: Plan | None = None
        self._gauge = Gauge(1, 1)
        self._last: StepMetrics | None = None
        self._printed_step = 0
        self._printed_at = 0.0

    def stage(self, text: str) -> None:
        """See `Observer`."""
        self._printed_at = time.perf_counter()
        self._say(f"{text} ...")

    def reading(self, table: str, done: int, total: int) -> None:
        """See `Observer`: a line every ten seconds."""
        if time.perf_counter() - self._printed_at >= LINE_EVERY_SECONDS:
            self._printed_at = time.perf_counter()
            self._say(f"read {done >> 20:,} of {total >> 20:,} MiB of {table}")

    def loading(self, rows: int, total: int) -> None:
        """See `Observer`: a line every ten seconds."""
        if time.perf_counter() - self._printed_at >= LINE_EVERY_SECONDS:
            self._printed_at = time.perf_counter()
            self._say(f"loaded {rows:,} of {total:,} rows")

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        self._plan, self._last, self._printed_step = plan, None, 0
        self._gauge = Gauge(plan.first_step, plan.max_steps)
        self._say(describe_plan(plan))

    def step(self, metrics: StepMetrics) -> None:
        """See `Observer`."""
        self._gauge.read(metrics)
        self._last = metrics
        if self._plan is not None and self._due(metrics.step, self._plan):
            self._print(metrics, self._plan)

    def warning(self, text: str) -> None:
        """See `Observer`."""
        self._say(f"warning: {text}")

    def member_finished(self, result: MemberResult) -> None:
        """See `Observer`."""
        self._print_last()
        self._say(describe_result(result))
        self._plan = None

    def finished(self, summary: Summary) -> None:
        """See `Observer`: where a rule ended the run, no one knew that this step would be the last."""
        self._print_last()

    def _print_last(self) -> None:
        if self._plan is not None and self._last is not None and self._last.step != self._printed_step:
            self._print(self._last, self._plan)

    def _print(self, metrics: StepMetrics, plan: Plan) -> None:
        self._printed_step, self._printed_at = metrics.step, time.perf_counter()
        self._say(f"{step_of(plan, metrics.step)}  {self._gauge.show(metrics)}")

    def _due(self, step: int, plan: Plan) -> bool:
        if step in (plan.first_step, plan.max_steps):
            return True
        share = LINE_EVERY_SHARE * (plan.max_steps - plan.first_step + 1)
        return step - self._printed_step >= share or time.perf_counter() - self._printed_at >= LINE_EVERY_SECONDS


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
