"""The coordinator of a job on a cluster: an actor in which the job's training runs, in a thread, so that it can be asked to stop.

It is not restarted by Ray: the supervisor (`supervisor.py`) hears of its death and starts another, which goes on from the newest
checkpoint.
"""

from __future__ import annotations

import os
import socket
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import ray

from dbp.errors import DbpError, InputError, LeaseLostError, TooFewWorkersError, WorkersLostError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.status import State
from dbp.training.observers import Observers
from dbp.training.progress_lines import ProgressLines
from dbp.training.stopping import StopRequest
from dbp.training.waiting import Waiting
from dbp.workers.home import TAKE_OVER_S, Home
from dbp.workers.nodes import Fitness, tables_of
from dbp.workers.placement import Room
from dbp.workers.run import InService, Setting
from dbp.workers.telemetry import telemetry
from dbp.workers.train import jobs_to_resume, resume_locked

NEWS_S = 2.0  # how long a question for news waits for some


@dataclass(frozen=True)
class Order:
    """What a coordinator is to do."""

    storage: str
    job: str  # its id
    overrides: tuple[str, ...]
    room: Room


@dataclass(frozen=True)
class Ended:
    """How a run ended. A refused one was the mistake of whoever handed it in; in a deserted one no worker was left.

    A `short` one has not ended: it has fewer workers than it asks for at least, and goes on when there is room for more.
    """

    state: State
    message: str
    refused: bool = False
    deserted: bool = False
    short: bool = False
    replaced: bool = False  # a newer run has the job: its records are that run's


@dataclass(frozen=True)
class News:
    """What happened since the supervisor last asked."""

    who: str  # process and host, as words
    lines: Sequence[str]
    seen: int  # lines in all


class Coordinator:
    """Runs one job, once. Make it an actor with threads for `run`, `stop` and `news`."""

    def __init__(self) -> None:
        self._stop = StopRequest()
        self._lines: list[str] = []
        self._more = threading.Condition()
        self._who = f"pid {os.getpid()} on {socket.gethostname()} ({ray.util.get_node_ip_address()})"

    def stop(self) -> None:
        """End after the step under way, with a checkpoint."""
        self._stop.set()

    def news(self, seen: int, wait_s: float = NEWS_S) -> News:
        """Return the lines of the log after the first `seen`, as soon as there are some or the time is over."""
        with self._more:
            self._more.wait_for(lambda: len(self._lines) > seen, wait_s)
            return News(self._who, self._lines[seen:], len(self._lines))

    def run(self, order: Order) -> Ended:
        """Train the job in its directory, from its newest checkpoint. Returns also what went wrong: Ray would wrap an error."""
        try:
            with Home(order.storage, order.job).owned(TAKE_OVER_S, warn=self._warn) as directory:
                return self._train(directory, order)
        except Exception as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> Ended:
        if not isinstance(error, DbpError):
            self._say(traceback.format_exc())
        return ended_by(error)

    def _train(self, home: JobDirectory, order: Order) -> Ended:
        job, original = jobs_to_resume(home, order.overrides)
        waiting = Waiting(home, job, "starting")
        setting = Setting(
            observer=Observers(_Telling(self._say, waiting), telemetry(home.id)),
            workers=job.required_workers if job.is_elastic else min(job.required_workers, len(order.room.places())),
            most=job.most_workers if job.is_elastic else 0,
            threads=job.threads,
            address=None,
            stop=self._stop,
            service=InService(order.room, waiting, Fitness.here(tables_of(job))),
        )
        try:
            summary = resume_locked(home, job, original, setting).summary
            if not waiting.closed:
                waiting.done_already(summary)
        except Exception as error:
            ended = self._failed(error)
            if ended.short:
                return ended
            if waiting.closed:  # it had begun: training's own records say so, and nobody's input was refused
                return replace(ended, refused=False)
            waiting.ended(ended.state, ended.message)
            return ended
        finally:
            waiting.close()
        self._say(
            f"model of step {summary.model_step}: loss {summary.loss:.6g}, SHA-256 of the parameters "
            f"{summary.parameters_sha256}"
        )
        return Ended(summary.state, summary.reason)

    def _warn(self, text: str) -> None:
        self._say(f"warning: {text}")

    def _say(self, text: str) -> None:
        with self._more:
            self._lines += text.splitlines() or [""]
            self._more.notify_all()


class _Telling(ProgressLines):
    """Progress as lines for the log; until training begins, in the status as well."""

    def __init__(self, say: Callable[[str], None], waiting: Waiting) -> None:
        super().__init__(say)
        self._waiting = waiting

    def reading(self, table: str, done: int, total: int) -> None:
        """See `Observer`. The status says it in steps of five percent: each is a file that is written."""
        super().reading(table, done, total)
        if not self._waiting.closed:
            self._waiting.waits_for(f"reading {table}: {100 * done // total // 5 * 5} %")

    def stage(self, text: str) -> None:
        """See `Observer`."""
        super().stage(text)
        if not self._waiting.closed:
            self._waiting.waits_for(text)


def ended_by(error: Exception) -> Ended:
    """Return how a job ends by an error."""
    if isinstance(error, DbpError):
        return Ended(
            "FAILED",
            str(error),
            refused=isinstance(error, InputError),
            deserted=isinstance(error, WorkersLostError),
            short=isinstance(error, TooFewWorkersError),
            replaced=isinstance(error, LeaseLostError),
        )
    return Ended("FAILED", f"a bug in dbp: {type(error).__name__}: {error}")
