"""`train` and `resume`: a job goes in, a trained network comes out, and a job directory tells how.

    open the tables -> start workers -> summarise columns -> encode -> load rows -> make the job directory -> train -> model

Nothing is written before all that can be checked has been: a mistake leaves no half-made job directory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dbp.data.dataset import Dataset
from dbp.errors import DbpError, JobDirectoryError
from dbp.jobs.directory import JobDirectory, check_job_id, check_storage, new_job_id
from dbp.jobs.environment import collect_environment
from dbp.jobs.job import Job
from dbp.jobs.status import read_status
from dbp.models.model import Model
from dbp.storage.atomic_files import write_json, write_text
from dbp.storage.checkpoints import CheckpointStore
from dbp.sums.batches import BatchSampler
from dbp.sums.fingerprint import kernel_fingerprint
from dbp.sums.messages import SumTask
from dbp.sums.partial_sum import PartialSum
from dbp.sums.pool import WorkerPool
from dbp.training.coordinator import Coordinator, Outcome, Progress, Schedule
from dbp.training.memory import Remember
from dbp.training.objective import LossReport, Objective
from dbp.training.observers import Observer, Observers, Plan, StepMetrics, Summary
from dbp.training.recorder import Recorder
from dbp.training.stopping import StopRequest
from dbp.workers.job_checkpoints import JobCheckpoints, Origin
from dbp.workers.pools import open_pool
from dbp.workers.preparation import (
    Fitted,
    Prepared,
    build_network,
    check_size,
    check_weight,
    fit_columns,
    largest_vector_bytes,
    open_dataset,
    raw_workload,
)
from dbp.workers.stopping_rules import stopping_rules
from dbp.workers.warm_start import check_start, open_start, start_parameters


@dataclass(frozen=True)
class Result:
    """What a run leaves behind. ``history`` has the steps of this run only; metrics.jsonl has all."""

    model: Model
    history: tuple[StepMetrics, ...]
    directory: Path
    summary: Summary


def train(
    job: Job,
    *,
    observer: Observer | None = None,
    job_id: str | None = None,
    workers: int | None = None,
    address: str | None = None,
    stop: StopRequest | None = None,
) -> Result:
    """Train a job and return its result; its job directory is made below ``job.storage``.

    `workers` overrides the job's (0: in this process), `address` names a running Ray cluster to use instead of an embedded
    one, `job_id` the job directory. Set `stop` to end after the step under way, with a checkpoint.
    Raises InputError (nothing was written) or JobFailedError (the job directory keeps what was reached).
    """
    storage = Path(job.storage)
    check_storage(storage)
    if job_id is not None:
        check_job_id(job_id)
        if (storage / job_id).exists():
            JobDirectory.create(storage, job_id)  # raises, with what to do instead
    start = open_start(job)
    if start is not None:
        job = job.starting_from(start.parameters_sha256)
    run = _Run(job, observer or Observer(), workers, address, stop or StopRequest(), start)
    with run.ready_pool(None) as (pool, prepared):
        directory = JobDirectory.create(storage, job_id or new_job_id(job.name, storage))
        progress = run.first_progress(prepared)
        if start is not None:  # first, so that whatever can be resumed needs the model no more
            run.store(directory, prepared, Observer()).save(progress)
        write_text(directory.job_file, job.to_yaml())
        with directory.locked():
            return run.train(pool, prepared, directory, progress, attempt=1)


def resume(
    directory: str | Path,
    *,
    overrides: Sequence[str] = (),
    observer: Observer | None = None,
    workers: int | None = None,
    address: str | None = None,
    stop: StopRequest | None = None,
) -> Result:
    """Go on with a job from its newest good checkpoint, to the same bits as if it had never stopped.

    `overrides` may change what changes no bit (``training.max_steps=500``, ``stopping.patience=9``, ``workers=4``).
    A job that a rule ended is ended by it again, at once and with the same model, unless the rule is changed.
    Raises CheckpointError when the job, its data or its network is another than the checkpoint's.
    """
    home = JobDirectory.open(Path(directory))
    observer = observer or Observer()
    with home.locked():
        job = Job.from_file(home.job_file, overrides)
        original = Job.from_file(home.job_file)
        if job.fingerprint() != original.fingerprint():
            raise JobDirectoryError(
                f"{home.job_file}: {', '.join(overrides)} would change the result; a resumed job can change only "
                "training.max_steps, stopping, workers and checkpoint. Start a new job with `dbp run` for anything else"
            )
        store = CheckpointStore(home.checkpoints, job.checkpoint.keep)
        newest = store.newest(lambda path, reason: observer.warning(f"{path}: {reason}; using the one before it"))
        start = open_start(job) if newest is None else None
        run = _Run(job, observer, workers, address, stop or StopRequest(), start)
        origin = None if newest is None else Origin.of(newest)
        if origin is not None:
            origin.check(home.checkpoints, job.fingerprint(), run.dataset.fingerprint(), kernel_fingerprint(), observer)
        if newest is not None and job.stopping.keeps_best and not original.stopping.keeps_best:
            observer.warning(
                f"stopping.keep is best from now on: parameters of validations before step {newest.step} were not kept"
            )
        with run.ready_pool(None if origin is None else origin.fitted) as (pool, prepared):
            if job != original:
                write_text(home.job_file, job.to_yaml())
            progress = run.first_progress(prepared)
            if newest is not None:
                progress = JobCheckpoints.progress_of(newest, progress.parameters)
            status = read_status(home.status_file)
            return run.train(pool, prepared, home, progress, attempt=1 + (status.attempt if status else 0))


class _Run:
    """One run of a job, from its tables to its model."""

    def __init__(
        self,
        job: Job,
        observer: Observer,
        workers: int | None,
        address: str | None,
        stop: StopRequest,
        start: Model | None,
    ) -> None:
        self.job, self.observer, self.address, self.stop = job, observer, address, stop
        self.workers = job.workers if workers is None else workers
        self.began = time.perf_counter()
        self.dataset: Dataset = open_dataset(job)
        check_size(job, self.dataset, self.workers)
        self.start = start
        if start is not None:
            check_start(job, self.dataset, start)
        self.raw = raw_workload(job, self.dataset)

    @contextmanager
    def ready_pool(self, fitted: Fitted | None) -> Iterator[tuple[WorkerPool, Prepared]]:
        """Start workers, fit the encoding unless it is known, build the network and have the workers load their rows."""
        job, dataset = self.job, self.dataset
        raw = self.raw
        if self.workers:
            self.observer.stage(f"starting Ray with {self.workers} worker{'s' if self.workers != 1 else ''}")
        vector_bytes = largest_vector_bytes(job, len(dataset.features))
        with open_pool(raw, self.workers, self.address, vector_bytes, self.observer.warning) as pool:
            if fitted is None:
                self.observer.stage(f"looking at {dataset.training_rows + dataset.validation_rows} rows")
                fitted = fit_columns(job, dataset, pool, self.observer, self.start)
            prepared = Prepared(build_network(job, fitted.encoding), fitted)
            pool.configure(prepared.workload(job, raw))
            self.observer.stage("loading rows")
            for part in raw.shards:
                check_weight(job, part, cast(PartialSum, pool.sum(SumTask("load", part))))
            yield pool, prepared

    def first_progress(self, prepared: Prepared) -> Progress:
        """Return the progress before the first step."""
        job = self.job
        if self.start is not None:
            theta = start_parameters(job, self.start)
        else:
            theta = prepared.network.initial_parameters(
                job.training.seed, job.training.precision, job.network.start_weights
            )
        return Progress(0, theta, job.optimizer.build().init(theta))

    def store(self, directory: JobDirectory, prepared: Prepared, observer: Observer) -> JobCheckpoints:
        """Return where progress is kept."""
        origin = Origin(self.job.fingerprint(), self.dataset.fingerprint(), kernel_fingerprint(), prepared.fitted)
        return JobCheckpoints(CheckpointStore(directory.checkpoints, self.job.checkpoint.keep), origin, observer)

    def train(
        self, pool: WorkerPool, prepared: Prepared, directory: JobDirectory, progress: Progress, attempt: int
    ) -> Result:
        """Train from `progress` and leave model, metrics and status in the job directory."""
        environment = collect_environment(self.dataset.fingerprint(), kernel_fingerprint())
        write_json(directory.environment_file, environment)
        recorder, history = Recorder(directory, attempt), _History()
        observer = Observers(recorder, history, self.observer)
        objective = self._objective(pool, prepared)
        try:
            observer.started(self._plan(prepared, directory, progress, pool))
            with _recording_failure(recorder):
                coordinator = self._coordinator(objective, self.store(directory, prepared, observer), observer)
                outcome = coordinator.run(progress)
                kept = self._kept(objective, outcome)
                model = self._model(prepared, kept)
                model.save(directory.model_file)
                summary = self._summary(directory, objective, outcome, kept, model)
            observer.finished(summary)
        finally:
            recorder.close()
        return Result(model, tuple(history.steps), directory.path, summary)

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

    def _coordinator(self, objective: Objective, store: JobCheckpoints, observer: Observer) -> Coordinator:
        job, training = self.job, self.job.training
        shards = self.raw.shards["train"]
        return Coordinator(
            objective=objective,
            optimizer=job.optimizer.build(),
            sampler=None if training.batch == "full" else BatchSampler(shards, training.batch, training.seed),
            schedule=Schedule(training.validate_every, job.checkpoint.every, self.dataset.validation_rows > 0),
            rules=stopping_rules(job, self.stop),
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
            directory=directory.path,
            rows=rows,
            validation_rows=self.dataset.validation_rows,
            features=len(prepared.encoding.features),
            outputs=prepared.network.sizes[-1],
            parameters=prepared.network.parameter_count,
            shards=self.raw.shards["train"].count,
            workers=pool.workers,
            first_step=progress.step + 1,
            max_steps=self.job.training.max_steps,
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
            directory=directory.path,
            state=outcome.ending.state,
            step=outcome.progress.step,
            loss=final.objective,
            rms=final.rms,
            reason=outcome.ending.reason,
            rule=outcome.ending.rule,
            model_step=kept.step,
            validation=validation,
            parameters_sha256=model.parameters_sha256,
            seconds=time.perf_counter() - self.began,
        )


@dataclass(frozen=True)
class _Kept:
    """The parameters that are the result of a run."""

    step: int
    parameters: NDArray[np.floating]  # (P,)
    validation: LossReport | None


class _History(Observer):
    """Remembers the steps of this run."""

    def __init__(self) -> None:
        self.steps: list[StepMetrics] = []

    def step(self, metrics: StepMetrics) -> None:
        self.steps.append(metrics)


@contextmanager
def _recording_failure(recorder: Recorder) -> Iterator[None]:
    """Have the status say how a run ended that did not end well; the error goes on."""
    try:
        yield
    except DbpError as error:
        recorder.ended_badly("FAILED", str(error))
        raise
    except KeyboardInterrupt:
        recorder.ended_badly(
            "STOPPED", "interrupted; the steps since the last checkpoint are computed again by `dbp resume`"
        )
        raise
    except Exception as error:
        recorder.ended_badly("FAILED", f"a bug in dbp: {type(error).__name__}: {error}")
        raise
