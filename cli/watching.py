"""A job watched while a service, or another process, runs it: live on a terminal, plain lines in a pipe.

What is drawn comes from glimpses of the job's records, about one each second; the job does not know that it is watched.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO, cast

from dbp.cli.output import QuietStream, clean, talk
from dbp.cli.progress import on_a_live_terminal
from dbp.cli.service import Found
from dbp.cli.sparkline import ASCII, BLOCKS, sparkline
from dbp.errors import ServiceError
from dbp.jobs.view import JobView
from dbp.training.progress_lines import LINE_EVERY_SECONDS, LINE_EVERY_SHARE, count, duration, short

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dbp.workers.reading import Glimpse

PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 60.0  # so long a service may be away
_RATE_SECONDS = 30.0  # the window of the step rate
_MOST_LOSSES = 4_000
_CURVE_WIDTH = 40

Say = Callable[[str], None]


@dataclass
class Watched:
    """What has been seen of a job."""

    view: JobView
    losses: list[float] = field(default_factory=list)
    validation: str = ""
    up: int | None = None
    wanted: int | None = None
    lost: int = 0
    rows: str = ""
    _last_step: int = -1
    _points: deque[tuple[float, int]] = field(default_factory=deque)  # (time, step), the last half minute
    _seconds_per_step: float | None = None  # as the job measured it, until time enough was seen here

    def see(self, view: JobView, glimpse: Glimpse | None) -> None:
        """Take a glimpse into account."""
        self.view = view
        for metrics in glimpse["metrics"] if glimpse else ():
            self._see_step(metrics)
        if glimpse is not None and glimpse["workers"] is not None:
            self.wanted = glimpse["workers"]
        if view.state != "RUNNING":
            self._points.clear()
        elif view.step is not None:
            now = time.monotonic()
            self._points.append((now, view.step))
            while len(self._points) > 2 and now - self._points[0][0] > _RATE_SECONDS:
                self._points.popleft()

    def _see_step(self, metrics: dict[str, Any]) -> None:  # Any: JSON
        if metrics["step"] <= self._last_step:  # an attempt that starts again at a checkpoint
            self.losses, self.up = self.losses[: max(0, metrics["step"] - 1)], None
        self._last_step = metrics["step"]
        loss, workers, seconds = metrics.get("loss"), metrics.get("workers"), metrics.get("seconds")
        if isinstance(loss, (int, float)):
            self.losses.append(float(loss))
            if len(self.losses) > _MOST_LOSSES:
                self.losses = self.losses[::2]
        if isinstance(workers, int):
            self.lost += max(0, (self.up or 0) - workers)
            self.up = workers
        if isinstance(seconds, (int, float)) and seconds > 0:
            before = self._seconds_per_step
            self._seconds_per_step = seconds if before is None else 0.9 * before + 0.1 * seconds
            rows = metrics.get("rows")
            self.rows = f"{short(rows / seconds)} rows/s" if isinstance(rows, int) else ""
        value, accuracy = metrics.get("validation_loss"), metrics.get("validation_accuracy")
        if isinstance(value, (int, float)):
            self.validation = f"validation {value:.4g}"
            if isinstance(accuracy, (int, float)):
                self.validation += f"  accuracy {accuracy:.1%}"

    @property
    def rate(self) -> float | None:
        """Steps a second, over the last half minute."""
        if len(self._points) >= 2:
            (began, first), (now, last) = self._points[0], self._points[-1]
            if now - began >= 2 and last > first:
                return (last - first) / (now - began)
        return 1 / self._seconds_per_step if self._seconds_per_step else None

    @property
    def share(self) -> float:
        """How much of its steps is done, from 0 to 1."""
        status = self.view.status
        return status.step / status.max_steps if status and status.max_steps else 0.0

    def progress(self) -> str:
        """Return how far it is: ``step 10/200``."""
        status = self.view.status
        if status is None:
            return ""
        return f"{self.view.progress}" if status.runs else f"step {status.step}/{status.max_steps}"

    def numbers(self) -> list[str]:
        """Return what is known, most important first."""
        status = self.view.status
        if status is None:
            return []
        loss = self.losses[-1] if self.losses else status.loss
        found = [] if loss is None else [f"loss {loss:.4g}"]
        found += [self.validation] if self.validation else []
        if self.view.state != "RUNNING":
            return found
        rate = self.rate
        if rate is not None:
            found.append(f"{rate:.3g} steps/s")
        found += [self.rows] if self.rows else []
        found.append(self.workers())
        if rate and status.runs is None and status.max_steps > status.step:
            found.append(f"{duration((status.max_steps - status.step) / rate)} left")
        return [each for each in found if each]

    def workers(self) -> str:
        """Return how many workers are up and how many were lost."""
        if self.wanted == 0:
            return "in the coordinator's process"
        if self.up is None:
            return ""
        wanted = self.view.status.workers_range if self.view.status else None
        if wanted is not None:
            return f"{count(self.up, 'worker')} up ({wanted.min} to {wanted.max})"
        up = count(self.up, "worker") if self.wanted in (None, self.up) else f"{self.up} of {self.wanted} workers"
        return f"{up} up" + (f", {self.lost} lost" if self.lost else "")


def glimpses(found: Found) -> Generator[tuple[JobView, Glimpse | None], None, None]:
    """Yield how a job is until it has ended, with a pause between two; a service that is away for a while is waited for."""
    away_since: float | None = None
    last: JobView | None = None
    while True:
        try:
            with closing(found.client.glimpses(found.id) if found.client else _of_directory(found)) as source:
                for view, glimpse in source:
                    away_since, last = None, view
                    yield view, glimpse
                    if not view.is_alive:
                        return
                    time.sleep(PAUSE_SECONDS)
            return
        except ServiceError:
            away_since = away_since or time.monotonic()
            if last is None or time.monotonic() - away_since > PATIENCE_SECONDS:
                raise
            time.sleep(2 * PAUSE_SECONDS)


def _of_directory(found: Found) -> Generator[tuple[JobView, Glimpse | None], None, None]:
    from dbp.jobs.view import describe, view_from_facts
    from dbp.workers.storages import NearReading

    for glimpse in NearReading(found.local.storage).glimpses(found.local.id):
        facts = glimpse["view"]
        yield (describe(found.local) if facts is None else view_from_facts(facts)), glimpse


def watch(found: Found, say: Say = talk, *, live: bool | None = None) -> JobView:
    """Show a job until it has ended; return how it did."""
    draw = on_a_live_terminal() if live is None else live
    watched: Watched | None = None
    with _live() if draw else _lines(say) as show, closing(glimpses(found)) as source:
        for view, glimpse in source:
            if watched is None:
                watched = Watched(view)
            watched.see(view, glimpse)
            show(watched)
    if watched is None:
        raise ServiceError(f"{found.id}: nothing is known of it")
    say(ending(watched))
    return watched.view


def ending(watched: Watched) -> str:
    """Return the line that says how a job ended."""
    view = watched.view
    numbers = "  ".join(part for part in (watched.progress(), *watched.numbers()) if part)
    return f"{view.job}: {view.state}: {view.message}" + (f"  ({numbers})" if numbers else "")


@contextmanager
def _lines(say: Say) -> Iterator[Callable[[Watched], None]]:
    printed: dict[str, object] = {"state": None, "share": -1.0, "time": 0.0}

    def show(watched: Watched) -> None:
        view, now = watched.view, time.monotonic()
        state = (view.state, "" if view.state == "RUNNING" and view.message == "training" else view.message)
        if not view.is_alive:
            return  # told at the end
        if state != printed["state"]:
            printed["state"] = state
            say(f"{view.job}: {view.state}" + (f": {state[1]}" if state[1] else ""))
        moved = watched.share - cast(float, printed["share"])
        waited = now - cast(float, printed["time"])
        if (
            view.state == "RUNNING"
            and view.step
            and (moved >= LINE_EVERY_SHARE or (moved > 0 and waited >= LINE_EVERY_SECONDS))
        ):
            printed["share"], printed["time"] = watched.share, now
            say("  ".join([watched.progress(), *watched.numbers()]))

    yield show


@contextmanager
def _live() -> Iterator[Callable[[Watched], None]]:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=cast(TextIO, QuietStream()), markup=False, highlight=False)
    unicode = (getattr(sys.stderr, "encoding", None) or "").lower().startswith("utf")
    with Live(
        console=console, refresh_per_second=8, transient=True, redirect_stdout=False, redirect_stderr=True
    ) as live:
        yield lambda watched: live.update(draw(watched, unicode))


def draw(watched: Watched, unicode: bool = True) -> RenderableType:
    """Return the picture of a job: state, bar, numbers, curve and message."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    view = watched.view
    lines: list[RenderableType] = [Text(clean(f"{view.job}  {view.state}"), style="bold")]
    if view.status is not None:
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(watched.progress()),
            ProgressBar(100, 100 * watched.share, width=_CURVE_WIDTH),
            Text(f"{watched.share:.0%}"),
        )
        lines.append(bar)
        lines.append(Text(clean("  ".join(watched.numbers()))))
    curve = sparkline(watched.losses, _CURVE_WIDTH, BLOCKS if unicode else ASCII)
    if len(curve) > 1:
        lines.append(Text(f"loss  {curve}"))
    if view.message and view.message != "training":
        lines.append(Text(clean(view.message), style="dim"))
    lines.append(Text("Ctrl-C leaves the job running", style="dim"))
    return Group(*lines)
