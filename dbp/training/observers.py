"""What a run reports, and to whom: an observer, silent by default."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dbp.jobs.job import Job
    from dbp.jobs.sweep_table import MemberResult

FinalState = Literal["SUCCEEDED", "STOPPED"]


@dataclass(frozen=True)
class Plan:
    """What is about to be trained."""

    job_id: str
    directory: Path | str  # or its URI
    rows: int
    validation_rows: int
    features: int
    outputs: int
    parameters: int  # length of the parameter vector
    shards: int
    workers: int
    first_step: int  # 1, or the step after the checkpoint a run goes on from
    max_steps: int
    run: RunOf | None = None  # where the job stands for several runs: which one this is
    job: Job | None = None  # as run, defaults filled in; of a job of several runs, the one run's


@dataclass(frozen=True)
class RunOf:
    """Which of a job's runs."""

    number: int  # from 1
    count: int
    label: str  # what is special about it


@dataclass(frozen=True)
class StepMetrics:
    """One step. Loss and RMS are those at the step's start, where its gradient was taken."""

    step: int
    loss: float  # the objective: mean or sum over the batch, penalty included
    rms: float  # root mean square error; in the target's own units where there is one target
    seconds: float
    rows: int  # rows of the batch
    workers: int
    gradient_norm: float
    validation_loss: float | None = None  # mean per row, after the step; None where this step was not validated
    validation_rms: float | None = None
    validation_accuracy: float | None = None
    digest: str | None = None  # of the parameters after the step: see `dbp.vectors.digest`

    def to_json(self) -> dict[str, float | int | str | None]:
        """Return the line of metrics.jsonl; numbers that are not finite become null, which JSON can say."""
        facts = {one.name: getattr(self, one.name) for one in fields(self)}  # asdict copies deeply: ten times as long
        return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in facts.items()}


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    job_id: str
    directory: Path | str  # or its URI
    state: FinalState
    step: int  # steps done
    loss: float  # the objective over all training rows at the model's parameters
    rms: float
    reason: str  # a sentence
    rule: str  # which rule ended it, for programs: see `dbp.training.stopping.Ending`
    model_step: int  # the step that the model's parameters are from: the last, or that of the lowest validation loss
    validation: dict[str, float] | None  # at the model's parameters
    parameters_sha256: str
    seconds: float  # of this run, from its start
    members: tuple[
        MemberResult, ...
    ] = ()  # of a job that stands for several runs; the numbers above are then the best one's
    best: int | None = None  # the number of the best one


class Observer:
    """Told what happens, in order. Override what is of interest; an exception from here ends the run."""

    def stage(self, text: str) -> None:
        """Something that takes a while before the first step begins: starting Ray, reading data."""

    def reading(self, table: str, done: int, total: int) -> None:
        """The workers have looked through so many bytes of all that a table of text has; told of large tables only."""

    def loading(self, rows: int, total: int) -> None:
        """The workers have loaded so many rows of all that there are; told of large tables only."""

    def started(self, plan: Plan) -> None:
        """Training begins; the job directory exists."""

    def step(self, metrics: StepMetrics) -> None:
        """A step is done."""

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        """A checkpoint is safe; it took so many seconds, beside training: steps that came after it may have been told before."""

    def warning(self, text: str) -> None:
        """Something the user should know that stops nothing."""

    def worker_lost(self, text: str) -> None:
        """A worker died; the text says which, why, and what follows. A warning, for those who do not count them."""
        self.warning(text)

    def member_finished(self, result: MemberResult) -> None:
        """One of several runs ended: done, failed or stopped. Each began with `started`; `finished` comes once, at the end."""

    def finished(self, summary: Summary) -> None:
        """Training ended as it should, done or stopped."""


class Observers(Observer):
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def stage(self, text: str) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.stage(text)

    def reading(self, table: str, done: int, total: int) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.reading(table, done, total)

    def loading(self, rows: int, total: int) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.loading(rows, total)

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.started(plan)

    def step(self, metrics: StepMetrics) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.step(metrics)

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.checkpoint(step, path, seconds)

    def warning(self, text: str) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.warning(text)

    def worker_lost(self, text: str) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.worker_lost(text)

    def member_finished(self, result: MemberResult) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.member_finished(result)

    def finished(self, summary: Summary) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.finished(summary)
