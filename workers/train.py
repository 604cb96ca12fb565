"""`train` and `resume`: a job goes in, a trained network comes out, and a job directory tells how.

    open the tables -> start workers -> summarise columns -> encode -> load rows -> make the job directory -> train -> model

Nothing is written before all that can be checked has been: a mistake leaves no half-made job directory. A job that stands for
several runs is `sweep`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dbp.errors import InputError, JobDirectoryError
from dbp.jobs.directory import JobDirectory, check_job_id, check_storage, job_exists, new_job_id
from dbp.jobs.job import Job
from dbp.jobs.sweep import members
from dbp.jobs.sweep_table import MemberResult
from dbp.models.model import Model
from dbp.training.callbacks import Callback, Guarded
from dbp.training.observers import Observer, Observers, StepMetrics, Summary
from dbp.training.stopping import StopRequest
from dbp.workers import sweep
from dbp.workers.job_checkpoints import JobCheckpoints
from dbp.workers.opening import Opening
from dbp.workers.run import Run, Setting, Trained
from dbp.workers.run_records import write_job
from dbp.workers.warm_start import open_start


@dataclass(frozen=True)
class Result:
    """What a run leaves behind. ``history`` has the steps of this run only; metrics.jsonl has all.

    Of a job with a sweep or restarts, all this is the best member's, but for ``directory``, which holds all of them.
    """

    model: Model
    history: tuple[StepMetrics, ...]
    directory: Path | str  # or its URI
    summary: Summary

    @property
    def members(self) -> tuple[MemberResult, ...]:
        """How each run of a sweep, or each restart, ended; () for a job that is one run."""
        return self.summary.members


def train(
    job: Job,
    *,
    observer: Observer | None = None,
    job_id: str | None = None,
    workers: int | None = None,
    address: str | None = None,
    stop: StopRequest | None = None,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train a job and return its result; its job directory is made below ``job.storage``.

    `workers` overrides the job's (0: in this process, with one thread), `address` names a running Ray cluster to use instead of
    an embedded one, `job_id` the job directory. Set `stop` to end after the step under way, with a checkpoint. `callbacks`
    watch, and cannot end the run (see `dbp.Callback`).
    Raises InputError (nothing was written) or JobFailedError (the job directory keeps what was reached).
    """
    storage = job.storage
    check_storage(storage)
    if job_id is not None:
        check_job_id(job_id)
        if job_exists(storage, job_id):
            JobDirectory.create(storage, job_id)  # raises, with what to do instead
    start = open_start(job)
    if start is not None:
        job = job.starting_from(start.parameters_sha256)
    setting = _setting(job, observer, workers, address, stop, callbacks)
    with setting.callbacks.ending():
        return _train(job, setting, start, storage, job_id)


def _train(job: Job, setting: Setting, start: Model | None, storage: str, job_id: str | None) -> Result:
    def new_directory() -> JobDirectory:
        return JobDirectory.create(storage, job_id or new_job_id(job.name, storage))

    with setting.opening(job) as opening:
        dataset = opening.dataset()
        if job.has_members:
            return _result(sweep.Sweep(job, setting, dataset, start).train(new_directory))
        return _result(_train_run(Run(job, setting, dataset, start), new_directory))


def _train_run(run: Run, new_directory: Callable[[], JobDirectory]) -> Trained:
    run.check()
    with run.setting.pool(run, run.vector_bytes) as pool:
        prepared = run.prepared(run.fit(pool))
        run.load(pool, prepared)
        directory = new_directory()
        progress = run.begin(directory, prepared)
        with directory.locked(warn=run.observer.warning):
            return run.train(pool, prepared, directory, progress)


def resume(
    directory: str | Path,
    *,
    overrides: Sequence[str] = (),
    observer: Observer | None = None,
    workers: int | None = None,
    address: str | None = None,
    stop: StopRequest | None = None,
    force: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Go on with a job from its newest good checkpoint, to the same bits as if it had never stopped.

    `overrides` may change what changes no bit (``training.max_steps=500``, ``stopping.patience=9``, ``workers=4``).
    `directory` is a job directory or its URI. `force` takes it over from a run that is known to be dead, or is to be ended;
    it stops before its next checkpoint. A job that a rule ended is ended by it again, at once and with the same model, unless
    the rule is changed. Raises CheckpointError when the job, its data or its network is another than the checkpoint's.
    """
    home = JobDirectory.open(directory, to_write=True)
    with home.locked(force=force, warn=(observer or Observer()).warning):
        job, original = jobs_to_resume(home, overrides)
        setting = _setting(job, observer, workers, address, stop, callbacks)
        with setting.callbacks.ending():
            return resume_locked(home, job, original, setting)


def jobs_to_resume(home: JobDirectory, overrides: Sequence[str]) -> tuple[Job, Job]:
    """Return a directory's job with overrides, and as it is. JobDirectoryError where they would change the result."""
    job, original = Job.from_file(home.job_file, overrides), Job.from_file(home.job_file)
    if _fingerprints(job) != _fingerprints(original):
        raise JobDirectoryError(
            f"{home.place_of(home.job_file)}: {', '.join(overrides)} would change the result; a resumed job can change only "
            "training.max_steps, stopping, workers, audit, checkpoint, service, data.cache, data.compact and "
            "training.signals_every. Start a new job with `dbp run` for anything else"
        )
    return job, original


def resume_locked(home: JobDirectory, job: Job, original: Job, setting: Setting) -> Result:
    """Go on with `job` in its directory, which is locked; `original` is what its job file says."""
    if job.stopping.keeps_best and not original.stopping.keeps_best:
        setting.observer.warning(
            "stopping.keep is best from now on: the parameters of earlier validations were not kept, so none of them can win"
        )
    with setting.opening(job) as opening:
        if job.has_members:
            swept = sweep.Sweep(job, setting, opening.dataset(), open_start(job))
            return _result(swept.resume(home, changed=job != original))
        return _result(_resume_run(job, setting, opening, home, changed=job != original))


def _resume_run(job: Job, setting: Setting, opening: Opening, home: JobDirectory, changed: bool) -> Trained:
    observer = setting.observer
    store = home.checkpoint_store(job.checkpoint.keep, observer.warning)
    newest = store.newest(lambda path, reason: observer.warning(f"{path}: {reason}; using the one before it"))
    run = Run(job, setting, opening.dataset(), open_start(job) if newest is None else None)
    run.check()
    origin = None if newest is None else run.check_origin(newest, home)
    with setting.pool(run, run.vector_bytes) as pool:
        prepared = run.prepared(run.fit(pool) if origin is None else origin.fitted)
        run.load(pool, prepared)
        if changed:
            write_job(home, job)
        progress = run.first_progress(prepared)
        if newest is not None:
            progress = JobCheckpoints.progress_of(newest, progress)
        return run.train(pool, prepared, home, progress)


def _setting(
    job: Job,
    observer: Observer | None,
    workers: int | None,
    address: str | None,
    stop: StopRequest | None,
    callbacks: Sequence[Callback],
) -> Setting:
    least, most = (job.required_workers, job.most_workers) if workers is None else (workers, workers)
    threads = job.threads if workers is None else 1
    if address and not least:
        raise InputError(
            f"--address {address}: this job has no worker processes that could be there (`workers: 0`, or threads); expected "
            "--workers 1 or more, or no --address"
        )
    guarded = Guarded(callbacks, None if observer is None else observer.warning)
    watching = Observers(observer or Observer(), guarded)
    return Setting(watching, least, address, stop or StopRequest(), most=most, threads=threads, callbacks=guarded)


def _fingerprints(job: Job) -> list[str]:
    """What determines the bits of each run of a job."""
    return [member.job.fingerprint() for member in members(job)]


def _result(trained: Trained) -> Result:
    return Result(trained.model, trained.history, trained.summary.directory, trained.summary)
