"""`dbp replay`: recompute steps of a job from a checkpoint before them, and compare the bits with what its records say.

The same lines as a run (`Run`) compute on the job's own data. Nothing is written into the job directory; the job may be running.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dbp.errors import CheckpointError, InputError
from dbp.evidence.differences import one_run
from dbp.evidence.history import History, read_history
from dbp.evidence.records import read_environment
from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.jobs.stopping_options import StoppingOptions
from dbp.storage.checkpoints import Checkpoint, CheckpointStore
from dbp.sums.fingerprint import kernel_fingerprint
from dbp.training.coordinator import Progress
from dbp.training.observers import Observer, StepMetrics
from dbp.training.stopping import StopRequest
from dbp.vectors import digest
from dbp.workers.job_checkpoints import JobCheckpoints
from dbp.workers.run import Run, Setting
from dbp.workers.warm_start import open_start


@dataclass(frozen=True)
class ComparedStep:
    """A step as the records tell it and as it was recomputed: the digest of the parameters after it, or, where no digest was
    recorded, the loss at its start."""

    step: int
    by: Literal["digest", "loss"]
    recorded: str | float | None
    recomputed: str | float | None

    @property
    def equal(self) -> bool:
        """Whether the bits are the same."""
        return self.recorded == self.recomputed

    def to_json(self) -> dict[str, object]:
        """Return it as plain JSON."""
        return {
            "step": self.step,
            "by": self.by,
            "recorded": self.recorded,
            "recomputed": self.recomputed,
            "equal": self.equal,
        }


@dataclass(frozen=True)
class Replayed:
    """What came out. `start` is the checkpoint that it began at, 0 for the job's start; it is compared as well, as the first of
    `steps`, where the records tell of it."""

    job: str
    directory: str
    start: int
    steps: tuple[ComparedStep, ...]

    @property
    def different(self) -> tuple[ComparedStep, ...]:
        """The steps whose bits are others than recorded."""
        return tuple(each for each in self.steps if not each.equal)

    def verdict(self) -> str:
        """Return it in a sentence."""
        last = self.steps[-1].step
        origin = f"the checkpoint of step {self.start}" if self.start else "the job's start"
        span = f"steps {self.start + 1} to {last}" if last > self.start + 1 else f"step {last}"
        if not self.different:
            return f"{span}, recomputed from {origin}: the same bits as recorded"
        first = self.different[0]
        if self.start and first.step == self.start:
            return f"{origin} does not hold the parameters that were recorded for that step; `dbp verify` says more"
        after = [each for each in self.steps if each.step > first.step]
        again = next((each.step for each in after if each.equal), None)
        healed = (
            f"; step {again} is as recorded again, so it is the record of step {first.step} that is wrong"
            if again
            else ""
        )
        return f"{span}, recomputed from {origin}: the first step with other bits than recorded is step {first.step}{healed}"

    def to_json(self) -> dict[str, object]:
        """Return it as plain JSON."""
        return {
            "job": self.job,
            "directory": self.directory,
            "equal": not self.different,
            "verdict": self.verdict(),
            "from_step": self.start,
            "first_difference": self.different[0].step if self.different else None,
            "steps": [each.to_json() for each in self.steps],
        }


def replay(
    directory: JobDirectory,
    step: int,
    *,
    start: int | None = None,
    workers: int = 0,
    address: str | None = None,
    observer: Observer | None = None,
) -> Replayed:
    """Recompute up to `step` from the newest good checkpoint before it (from the job's start where there is none) and compare.

    `start` names the checkpoint instead, 0 the job's start. `workers` changes no bit. Raises CheckpointError where the checkpoint
    is not there or the data has changed, InputError for a step that the job has not made, JobFailedError where a step fails.
    """
    observer = observer or Observer()
    job = one_run(directory)
    directory.fetch(directory.metrics_file)
    store = directory.checkpoint_store(job.checkpoint.keep, observer.warning)
    checkpoint = _checkpoint(directory, store, step, start, observer)
    history = read_history(directory.metrics_file)  # after the checkpoint: a running job's has its steps by now
    _check_step(directory, history, step)
    job = _up_to(job, step)
    model = open_start(job) if checkpoint is None else None
    setting, listener = Setting(observer, workers, address, StopRequest()), _Listener()
    with setting.opening(job) as opening:
        run = Run(job, setting, opening.dataset(), model)
        run.check()
        if checkpoint is None:
            _check_data(run, directory, observer)
        progress = _recompute(run, directory, checkpoint, listener)
    compared = [_compared(history, metrics) for metrics in listener.steps]
    if history.digest(progress.step) is not None:
        told = history.digest(progress.step)
        compared.insert(0, ComparedStep(progress.step, "digest", told, digest(progress.parameters)))
    return Replayed(directory.id, str(directory.place), progress.step, tuple(compared))


def _recompute(run: Run, directory: JobDirectory, checkpoint: Checkpoint | None, listener: _Listener) -> Progress:
    """Make the steps from a checkpoint on; return the progress before the first."""
    origin = None if checkpoint is None else run.check_origin(checkpoint, directory)
    with run.setting.pool(run, run.vector_bytes) as pool:
        prepared = run.prepared(run.fit(pool) if origin is None else origin.fitted)
        run.load(pool, prepared)
        progress = run.first_progress(prepared)
        if checkpoint is not None:
            progress = JobCheckpoints.progress_of(checkpoint, progress)
        run.recompute(pool, prepared, progress, listener)
    return progress


class _Listener(Observer):
    """Keeps the metrics of each step that was recomputed."""

    def __init__(self) -> None:
        self.steps: list[StepMetrics] = []

    def step(self, metrics: StepMetrics) -> None:
        self.steps.append(metrics)


def _checkpoint(
    directory: JobDirectory, store: CheckpointStore, step: int, start: int | None, observer: Observer
) -> Checkpoint | None:
    """Return the checkpoint to begin at; None for the job's start. A damaged one is passed over, with a warning."""
    there = store.steps()
    if start is not None:
        if start >= step:
            raise InputError(f"--from {start}: expected a step before step {step}, which is to be recomputed")
        if start in there:
            return store.load(start)
        if start == 0:
            return None
        listed = f"there are those of steps {', '.join(map(str, there))}" if there else "there is none"
        raise CheckpointError(
            f"{directory.place}: has no checkpoint of step {start}; {listed}. --from 0 is the job's start"
        )
    for each in reversed([known for known in there if known < step]):
        try:
            return store.load(each)
        except CheckpointError as error:
            observer.warning(f"{error}; beginning at the one before it")
    return None


def _check_step(directory: JobDirectory, history: History, step: int) -> None:
    if step in history.steps:
        return
    made = f"it has made steps 1 to {history.last}" if history.last else "it has made no step yet"
    if 1 <= step <= history.last:
        made += f", and {history.file} has no line of this one (`dbp verify`)"
    raise InputError(f"{directory.place}: step {step} is not recorded; {made}")


def _up_to(job: Job, step: int) -> Job:
    """Return the job that ends at a step, and at none before: nothing of that changes a bit."""
    training = job.training.model_copy(update={"max_steps": step})
    return job.model_copy(update={"training": training, "stopping": StoppingOptions()})


def _check_data(run: Run, directory: JobDirectory, observer: Observer) -> None:
    """What a checkpoint would know; here environment.json does."""
    facts = read_environment(directory).facts or {}
    known, now = facts.get("data_fingerprint"), run.dataset.fingerprint()
    if known is None:
        observer.warning(
            f"{directory.place}: nothing tells what data the job was trained on; if it changed, so did the bits"
        )
    elif known != now:
        raise CheckpointError(
            f"{directory.place}: the data has changed since this job was trained (fingerprint {known[:12]}, now {now[:12]}); "
            "restore the data to replay it"
        )
    kernel = facts.get("kernel_fingerprint")
    if kernel is not None and kernel != kernel_fingerprint():
        observer.warning(
            f"this machine computes other last bits than the job's (kernel {kernel}, here {kernel_fingerprint()})"
        )


def _compared(history: History, metrics: StepMetrics) -> ComparedStep:
    told = history.digest(metrics.step)
    if told is not None:
        return ComparedStep(metrics.step, "digest", told, metrics.digest)
    return ComparedStep(metrics.step, "loss", history.steps.get(metrics.step, {}).get("loss"), metrics.loss)
