"""One run of a job, from its tables to its model, on a pool that it need not have for itself."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from dbp.data.dataset import Dataset
from dbp.jobs.directory import JobDirectory
from dbp.jobs.environment import collect_environment
from dbp.jobs.job import Job
from dbp.jobs.status import next_attempt, read_status
from dbp.models.model import Model
from dbp.storage.atomic_files import write_json
from dbp.storage.checkpoints import Checkpoint
from dbp.sums.audit import Audit
from dbp.sums.batches import BatchSampler
from dbp.sums.fingerprint import kernel_fingerprint
from dbp.sums.loading import loading_rounds, rows_of
from dbp.sums.messages import SumTask
from dbp.sums.partial_sum import PartialSum
from dbp.sums.pool import TransportPool, WorkerPool
from dbp.training.callbacks import Guarded
from dbp.training.coordinator import Coordinator, Outcome, Progress, Schedule
from dbp.training.memory import Remember
from dbp.training.objective import LossReport, Objective
from dbp.training.observers import Observer, Observers, Plan, StepMetrics, Summary
from dbp.training.recorder import Recorder
from dbp.training.saving import ProgressStore, Saved, failing_with, persistently
from dbp.training.stopping import StopRequest
from dbp.training.waiting import Waiting
from dbp.workers.job_checkpoints import JobCheckpoints, Origin
from dbp.workers.memory_check import check_memory, machines, need_of
from dbp.workers.opening import Opening
from dbp.workers.pools import open_pool
from dbp.workers.preparation import (
    Fitted,
    Prepared,
    build_network,
    check_size,
    check_weight,
    fit_columns,
    largest_vector_bytes,
    raw_workload,
)
from dbp.workers.run_records import before_the_first_step, recording_failure, save_model, write_job
from dbp.workers.signals import signals_of
from dbp.workers.stopping_rules import stopping_rules
from dbp.workers.warm_start import check_start, start_parameters

if TYPE_CHECKING:
    from dbp.workers.nodes import Fitness
    from dbp.workers.placement import Room


@dataclass(frozen=True)
class InService:
    """What a run has on a cluster that one in the foreground has not: reserved room, and records of its waiting."""

    room: Room
    waiting: Waiting
    fitness: Fitness | None = None  # what every node where a worker starts must have


@dataclass(frozen=True)
class Setting:
    """Where a job runs, who watches, and who may stop it."""

    observer: Observer
    workers: int  # that are waited for
    address: str | None
    stop: StopRequest
    service: InService | None = None
    began: float = field(default_factory=time.perf_counter)
    most: int = 0  # workers that take part where there is room; fewer than `workers`: no more than these
    threads: int = 1  # of this process, where there are no workers
    callbacks: Guarded = field(default_factory=Guarded)  # which `observer` tells, too

    def opening(self, job: Job) -> Opening:
        """Return who opens the tables of a job: a context that the pool is to be opened in."""
        room = self.service.room if self.service else None
        return Opening(job, self.observer, self.workers, self.most, self.address, room)

    @contextmanager
    def pool(self, run: Run, vector_bytes: int) -> Iterator[TransportPool]:
        """Start workers that know of `run`'s rows; `vector_bytes` is an upper bound of a parameter vector's size."""
        if self.workers:
            what = "" if self.service else "Ray with "
            more = f" to {self.most}" if self.most > self.workers else ""
            self.observer.stage(
                f"starting {what}{self.workers}{more} worker{'s' if self.most > 1 or self.workers > 1 else ''}"
            )
        if run.job.audit and not self.workers:
            self.observer.warning(
                "audit: nothing is audited without worker processes: there is no other one to compare with"
            )
        audit = Audit(run.job.audit, run.job.training.seed)
        room, observer = self.service.room if self.service else None, self.observer
        fitness = self.service.fitness if self.service else None
        if room is not None or not self.address:
            self._check_memory(run)
        with open_pool(
            run.raw,
            self.workers,
            self.address,
            vector_bytes,
            observer.warning,
            observer.worker_lost,
            room,
            self.most,
            audit,
            fitness,
            self.threads,
        ) as pool:
            if room is None and self.address:
                self._check_memory(run)
            yield pool

    def _check_memory(self, run: Run) -> None:
        """Raise JobFileError where the rows cannot fit into memory, before any is loaded; warn where they may not."""
        need = need_of(run.job, run.dataset, run.raw, self.workers, self.threads)
        for warning in check_memory(run.job, need, machines(self.workers, self.service.room if self.service else None)):
            self.observer.warning(warning)

    def begin_training(self) -> None:
        """The records of training take over from those of waiting."""
        if self.service is not None:
            self.service.waiting.close()


@dataclass(frozen=True)
class Trained:
    """What a run leaves behind; ``history`` has its own steps only."""

    model: Model
    history: tuple[StepMetrics, ...]
    summary: Summary


class Run:
    """One run of a job. `start` is the model that it starts from, if it names one and has no checkpoint yet."""

    def __init__(self, job: Job, setting: Setting, dataset: Dataset, start: Model | None) -> None:
        self.job, self.setting, self.dataset, self.start = job, setting, dataset, start
        self.observer = setting.observer
        self.raw = raw_workload(job, dataset)

    def check(self) -> None:
        """Raise JobFileError where the job does not fit its tables, or the model it starts from."""
        check_size(self.job, self.dataset, self.setting.workers or self.setting.threads)
        if self.start is not None:
            check_start(self.job, self.dataset, self.start)

    @property
    def vector_bytes(self) -> int:
        """An upper bound of a parameter vector's size."""
        return largest_vector_bytes(self.job, self.dataset)

    def fit(self, pool: WorkerPool) -> Fitted:
        """Look at the columns, with a pool that knows of this run's rows."""
        self.observer.stage(f"looking at {self.dataset.training_rows + self.dataset.validation_rows} rows")
        return fit_columns(self.job, self.dataset, pool, self.observer, self.start)

    def prepared(self, fitted: Fitted) -> Prepared:
        """Return what is to be trained. JobFileError where `network.outputs` does not fit the target."""
        return Prepared(build_network(self.job, fitted.encoding), fitted)

    def load(self, pool: WorkerPool, prepared: Prepared) -> None:
        """Have the workers load their rows."""
        pool.configure(prepared.workload(self.job, self.raw))
        self.observer.stage("loading rows")
        loaded, total = 0, sum(shards.rows for shards in self.raw.shards.values())
        for part, shards in self.raw.shards.items():
            for some in loading_rounds(shards, pool.workers):
                pool.sum(SumTask("load", part, batch=some))
                loaded += rows_of(some)
                self.observer.loading(loaded, total)
            check_weight(self.job, part, cast(PartialSum, pool.sum(SumTask("load", part))))

    def begin(self, directory: JobDirectory, prepared: Prepared) -> Progress:
        """Write the job file of a new job directory; return the progress before the first step."""
        progress = self.first_progress(prepared)
        if self.start is not None:  # first, so that whatever can be resumed needs the model no more
            self._store(directory, prepared).save(progress)
        write_job(directory, self.job)
        return progress

    def first_progress(self, prepared: Prepared) -> Progress:
        """Return the progress before the first step."""
        job = self.job
        if self.start is not None:
            theta = start_parameters(job, self.start)
        else:
            theta = prepared.network.initial_parameters(
                job.start_seed, job.training.precision, job.network.start_weights
            )
        return Progress(0, theta, job.optimizer.build().init(theta))

    def check_origin(self, checkpoint: Checkpoint, directory: JobDirectory) -> Origin:
        """Return where a checkpoint comes from. CheckpointError where job or data are others."""
        origin = Origin.of(checkpoint)
        facts = (self.job.fingerprint(), self.dataset.fingerprint(), kernel_fingerprint())
        origin.check(directory.checkpoints, *facts, self.observer)
        return origin

    def train(self, pool: WorkerPool, prepared: Prepared, directory: JobDirectory, progress: Progress) -> Trained:
        """Train from `progress` and leave model, metrics and status in the job directory, which is locked."""
        environment = collect_environment(self.dataset.fingerprint(), kernel_fingerprint())
        with before_the_first_step(directory):
            status = read_status(directory.status_file)
            write_json(directory.environment_file, environment)
            directory.soon(directory.environment_file)
            self.setting.begin_training()
            recorder, history = Recorder(directory, next_attempt(status), self.observer.warning), _History()
        observer = Observers(recorder, history, self.observer)
        objective = self._objective(pool, prepared)
        try:
            with before_the_first_step(directory), self.setting.callbacks.recording(recorder.warning):
                observer.started(self._plan(prepared, directory, progress, pool))
            with recording_failure(recorder), self.setting.callbacks.recording(recorder.warning):
                with signals_of(self.job, self.dataset, prepared, directory, recorder.lines_wait) as signals:
                    store = replace(
                        self._store(directory, prepared), before=_both(recorder.make_safe, signals.make_safe)
                    )
                    coordinator = replace(self._coordinator(objective, store, observer), after=signals.after)
                    outcome = coordinator.run(progress)
                kept = self._kept(objective, outcome)
                model = self._model(prepared, kept)
                self._save_model(directory, model, outcome.progress.step)
                summary = self._summary(directory, objective, outcome, kept, model)
                recorder.settle(summary.step)
            with self.setting.callbacks.recording(recorder.warning):
                observer.finished(summary)
        finally:
            recorder.close()
        return Trained(model, tuple(history.steps), summary)

    def _save_model(self, directory: JobDirectory, model: Model, step: int) -> None:
        safe = f"the checkpoint of step {step} is kept. See to the storage, then `dbp resume` writes the model"
        with failing_with(safe):
            persistently(lambda: save_model(directory, model), self.observer.warning)

    def recompute(self, pool: WorkerPool, prepared: Prepared, progress: Progress, observer: Observer) -> None:
        """Make the job's steps from `progress` on and leave nothing behind; `observer` hears of them."""
        coordinator = self._coordinator(self._objective(pool, prepared), _Nowhere(), observer)
        # What is measured on the validation rows changes no bit of a step.
        replace(coordinator, schedule=replace(coordinator.schedule, validates=False)).run(progress)

    def _store(self, directory: JobDirectory, prepared: Prepared) -> JobCheckpoints:
        origin = Origin(self.job.fingerprint(), self.dataset.fingerprint(), kernel_fingerprint(), prepared.fitted)
        warnings: deque[str] = deque()
        store = directory.checkpoint_store(self.job.checkpoint.keep, warnings.append)
        return JobCheckpoints(store, origin, warnings=warnings)

    def _objective(self, pool: WorkerPool, prepared: Prepared) -> Objective:
        units = prepared.encoding.target_units()
        return Objective(
            pool=pool,
            network=prepared.network,
            reduction=self.job.training.reduction,
            l2_penalty=self.job.training.l2_penalty,
            classification=self.job.task == "classification",
            rms_unit=float(units[0]) if len(units) == 1 else 1.0,
        )

    def _coordinator(self, objective: Objective, store: ProgressStore, observer: Observer) -> Coordinator:
        job, training = self.job, self.job.training
        shards = self.raw.shards["train"]
        return Coordinator(
            objective=objective,
            optimizer=job.optimizer.build(),
            sampler=None if training.batch == "full" else BatchSampler(shards, training.batch, training.seed),
            schedule=Schedule(training.validate_every, job.checkpoint.every, self.dataset.validation_rows > 0),
            rules=stopping_rules(job, self.setting.stop),
            store=store,
            observer=observer,
            remember=Remember(
                job.stopping.loss_change_steps + 1, job.stopping.min_improvement, best=job.stopping.keeps_best
            ),
        )

    def _plan(self, prepared: Prepared, directory: JobDirectory, progress: Progress, pool: WorkerPool) -> Plan:
        rows = self.dataset.training_rows
        return Plan(
            job_id=directory.id,
            directory=directory.place,
            rows=rows,
            validation_rows=self.dataset.validation_rows,
            features=len(prepared.encoding.features),
            outputs=prepared.network.sizes[-1],
            parameters=prepared.network.parameter_count,
            shards=self.raw.shards["train"].count,
            workers=max(pool.workers, self.setting.workers),
            first_step=progress.step + 1,
            max_steps=self.job.training.max_steps,
            job=self.job,
        )

    def _kept(self, objective: Objective, outcome: Outcome) -> _Kept:
        """Return the parameters that are the result: the last, unless the best of an earlier validation are as good and wanted."""
        last, best = outcome.progress, outcome.progress.memory.best
        validation = None
        if self.dataset.validation_rows:
            validation = objective.report("validation", last.parameters)
            # Put this way round, a last loss that is NaN loses.
            if self.job.stopping.keeps_best and best is not None and not validation.mean < best.loss:
                return _Kept(best.step, best.parameters, objective.report("validation", best.parameters))
        return _Kept(last.step, last.parameters, validation)

    def _model(self, prepared: Prepared, kept: _Kept) -> Model:
        about = {"name": self.job.name, "step": kept.step, "job_fingerprint": self.job.fingerprint()}
        return Model(prepared.network, kept.parameters, prepared.encoding, self.job.loss, about)

    def _summary(
        self, directory: JobDirectory, objective: Objective, outcome: Outcome, kept: _Kept, model: Model
    ) -> Summary:
        final = objective.report("train", kept.parameters)
        validation = None
        if kept.validation is not None:
            validation = {"loss": kept.validation.mean, "rms": kept.validation.rms}
            if kept.validation.accuracy is not None:
                validation["accuracy"] = kept.validation.accuracy
        return Summary(
            job_id=directory.id,
            directory=directory.place,
            state=outcome.ending.state,
            step=outcome.progress.step,
            loss=final.objective,
            rms=final.rms,
            reason=outcome.ending.reason,
            rule=outcome.ending.rule,
            model_step=kept.step,
            validation=validation,
            parameters_sha256=model.parameters_sha256,
            seconds=time.perf_counter() - self.setting.began,
        )


@dataclass(frozen=True)
class _Kept:
    """The parameters that are the result of a run."""

    step: int
    parameters: NDArray[np.floating]  # (P,)
    validation: LossReport | None


class _Nowhere:
    """Keeps no progress (a `ProgressStore`)."""

    def save(self, progress: Progress) -> Saved:
        return Saved(progress.step, Path(), 0.0)


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def do() -> None:
        first()
        second()

    return do


class _History(Observer):
    """Remembers the steps of this run."""

    def __init__(self) -> None:
        self.steps: list[StepMetrics] = []

    def step(self, metrics: StepMetrics) -> None:
        self.steps.append(metrics)
