"""Several runs of one job (`sweep`, `training.restarts`), one after the other on one pool of workers.

    members -> check each -> start workers -> for each: rows (shared where they are the same) -> train -> table -> best model

Every member is a job of its own with a job directory of its own, and its bits are those of that job trained alone: what it learns
of the columns is summed over its own shards, whose cut hangs on its network. Members whose rows are the same are trained one after
the other, so that their rows are read once. What is left to do after an interruption, sweep.json says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dbp.data.dataset import Dataset
from dbp.errors import JobFailedError, JobFileError, NonFiniteLossError, Problem
from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.jobs.status import next_attempt, read_status
from dbp.jobs.sweep import Changes, Member, members, point_problems
from dbp.jobs.sweep_table import MemberResult, best_of, read_table, write_table
from dbp.models.model import Model, load_model
from dbp.sums.messages import Workload
from dbp.sums.pool import WorkerPool
from dbp.training.coordinator import Progress
from dbp.training.observers import Observer, Observers, Plan, RunOf, StepMetrics, Summary
from dbp.training.saving import failing_with, persistently
from dbp.training.sweep_recorder import SweepRecorder
from dbp.workers.job_checkpoints import JobCheckpoints
from dbp.workers.preparation import Fitted, Prepared
from dbp.workers.run import Run, Setting, Trained
from dbp.workers.run_records import recording_failure, save_model, write_job

Histories = dict[int, tuple[StepMetrics, ...]]  # by member: its steps in this process


class Sweep:
    """A job of several runs. Making one checks every member against the tables (JobFileError)."""

    def __init__(self, job: Job, setting: Setting, dataset: Dataset, start: Model | None) -> None:
        self.job, self.setting, self.start = job, setting, start
        self.dataset = dataset
        self.members = members(job)
        self._check_each(lambda run: run.check())

    def train(self, new_directory: Callable[[], JobDirectory]) -> Trained:
        """Train all members in a new job directory, made when all that can be checked has been."""
        order = self._in_order(self.members)
        with self._ground(order[0]) as ground:
            fitted = ground.fitted(self._run(order[0], self.setting.observer))
            self._check_each(lambda run: run.prepared(fitted))
            home = new_directory()
            write_table(home.table_file, self._results(home))
            home.put(home.table_file)  # first: where there is a job file, there is a table
            write_job(home, self.job)
            with home.locked(warn=self.setting.observer.warning):
                return self._train_all(home, ground, order, 1)

    def resume(self, home: JobDirectory, changed: bool) -> Trained:
        """Train the members that are not done in a job directory, which is locked. `changed`: its job file is another."""
        results = self._results(home)
        todo = [
            member
            for member, result in zip(self.members, results, strict=True)
            if not result.done or (changed and not _ends_alike(member.job, home.member(member.number)))
        ]
        if changed:
            write_job(home, self.job)
        if not todo:
            return self._conclusion(home, results, {})
        status = read_status(home.status_file)
        order = self._in_order(todo)
        with self._ground(order[0]) as ground:
            return self._train_all(home, ground, order, next_attempt(status))

    def _train_all(self, home: JobDirectory, ground: _Ground, order: Sequence[Member], attempt: int) -> Trained:
        self.setting.begin_training()
        recorder = SweepRecorder(
            home, self._results(home), attempt, self.setting.workers, self.setting.observer.warning
        )
        observer = Observers(recorder, self.setting.observer)
        histories: Histories = {}
        try:
            with recording_failure(recorder), self.setting.callbacks.recording(recorder.warning):
                for member in order:
                    # Asked to stop between two members: the first one to train is begun in any case, so that there is a model.
                    if self.setting.stop.is_set() and best_of(recorder.results) is not None:
                        break
                    before = recorder.results[member.number - 1]
                    result, histories[member.number] = self._train_member(home, ground, member, before, observer)
                    observer.member_finished(result)
                trained = self._conclusion(home, recorder.results, histories)
            with self.setting.callbacks.recording(recorder.warning):
                observer.finished(trained.summary)
        finally:
            recorder.close()
        return trained

    def _train_member(
        self, home: JobDirectory, ground: _Ground, member: Member, before: MemberResult, observer: Observer
    ) -> tuple[MemberResult, tuple[StepMetrics, ...]]:
        directory = home.member(member.number)
        if not directory.path.is_dir():
            JobDirectory.create(directory.path.parent, directory.id)
        run = self._run(member, _Forwarding(observer, home, RunOf(member.number, len(self.members), member.label)))
        began = run.setting.began
        with directory.locked(warn=observer.warning):
            prepared = ground.prepare(run)
            progress = _progress(run, prepared, directory)
            try:
                trained = run.train(ground.pool, prepared, directory, progress)
            except NonFiniteLossError as error:
                status = read_status(directory.status_file)
                steps, seconds = status.step if status else 0, before.seconds + time.perf_counter() - began
                none = replace(before, loss=None, rms=None, validation=None, model_step=None, parameters_sha256=None)
                return replace(none, state="FAILED", message=str(error), steps=steps, seconds=seconds), ()
        return _result(before, trained.summary), trained.history

    def _conclusion(self, home: JobDirectory, results: Sequence[MemberResult], histories: Histories) -> Trained:
        """Save the best model and tell how the job ended. JobFailedError when no member has one."""
        best = best_of(results)
        if best is None or best.loss is None or best.parameters_sha256 is None:
            raise JobFailedError(
                f"none of {len(results)} runs has a model; run {results[0].number}: {results[0].message}"
            )
        best_model = home.path / best.directory / "model.safetensors"
        home.fetch(best_model)
        model = load_model(best_model)
        with failing_with("the runs that are done are kept. See to the storage, then `dbp resume` writes the model"):
            persistently(lambda: save_model(home, model), self.setting.observer.warning)
        done = all(result.done for result in results)
        summary = Summary(
            job_id=home.id,
            directory=home.place,
            state="SUCCEEDED" if done else "STOPPED",
            step=best.steps,
            loss=best.loss,
            rms=float("nan") if best.rms is None else best.rms,
            reason=_reason(results, best),
            rule="sweep" if done else "request",
            model_step=best.steps if best.model_step is None else best.model_step,
            validation=None if best.validation is None else {k: v for k, v in best.validation.items() if v is not None},
            parameters_sha256=best.parameters_sha256,
            seconds=time.perf_counter() - self.setting.began,
            members=tuple(results),
            best=best.number,
        )
        return Trained(model, histories.get(best.number, ()), summary)

    def _results(self, home: JobDirectory) -> list[MemberResult]:
        """Return how far each member has come: what the table says, and nothing yet for those that it does not know."""
        known = {result.number: result for result in read_table(home.table_file)}
        results = []
        for member in self.members:
            directory = home.member(member.number).path.relative_to(home.path)
            new = MemberResult(member.number, member.changes, member.seed, str(directory), member.label)
            results.append(known.get(member.number, new))
        return results

    def _run(self, member: Member, observer: Observer) -> Run:
        setting = replace(self.setting, observer=observer, began=time.perf_counter())
        return Run(member.job, setting, self.dataset, self.start)

    def _check_each(self, check: Callable[[Run], object]) -> None:
        check_members(self.job, self.members, lambda member: check(self._run(member, self.setting.observer)))

    def _in_order(self, chosen: Sequence[Member]) -> list[Member]:
        """Return members in the order to train them: by number, but those that share rows one after the other."""
        groups: dict[object, list[Member]] = {}
        for member in chosen:
            cut = _cut(self._run(member, self.setting.observer))
            groups.setdefault((cut, member.job.training.precision), []).append(member)
        return [member for group in groups.values() for member in group]

    @contextmanager
    def _ground(self, first: Member) -> Iterator[_Ground]:
        runs = [self._run(member, self.setting.observer) for member in self.members]
        largest = max(run.vector_bytes for run in runs)
        with self.setting.pool(runs[first.number - 1], largest) as pool:
            yield _Ground(pool, runs[first.number - 1].raw)


def check_members(job: Job, chosen: Sequence[Member], check: Callable[[Member], object]) -> None:
    """Check one member of each combination. JobFileError with everything that is wrong with any of them."""
    found: list[tuple[Changes, Sequence[Problem]]] = []
    for member in chosen[:: job.training.restarts]:
        try:
            check(member)
            found.append((member.changes, ()))
        except JobFileError as error:
            if job.sweep is None:
                raise
            found.append((member.changes, error.problems))
    problems = point_problems(found)
    if problems:
        raise JobFileError(job.name, problems)


class _Ground:
    """The workers and the rows that they have loaded."""

    def __init__(self, pool: WorkerPool, workload: Workload) -> None:
        self.pool = pool
        self._workload = workload  # what the pool works on
        self._fitted: dict[object, Fitted] = {}

    def fitted(self, run: Run) -> Fitted:
        """Return what the columns teach, looked at once for each cut: sums over other shards have other last bits."""
        cut = _cut(run)
        if cut not in self._fitted:
            self._workload = run.raw
            self.pool.configure(run.raw)
            self._fitted[cut] = run.fit(self.pool)
        return self._fitted[cut]

    def prepare(self, run: Run) -> Prepared:
        """Have the workers ready for a run; rows that they have already are not loaded again."""
        prepared = run.prepared(self.fitted(run))
        workload = prepared.workload(run.job, run.raw)
        if workload.shares_rows_with(self._workload):
            self.pool.configure(workload)
        else:
            run.load(self.pool, prepared)
        self._workload = workload
        return prepared


def _cut(run: Run) -> object:
    return tuple(sorted((part, shards.rows, shards.count) for part, shards in run.raw.shards.items()))


def _ends_alike(job: Job, directory: JobDirectory) -> bool:
    """Whether a member that is done would end where it did."""
    directory.fetch(directory.job_file)
    before = Job.from_file(directory.job_file)
    return (job.training.max_steps, job.stopping) == (before.training.max_steps, before.stopping)


def _progress(run: Run, prepared: Prepared, directory: JobDirectory) -> Progress:
    """Return where a member goes on: at its newest good checkpoint, or at the start. Its job file is then the member's job."""
    store = directory.checkpoint_store(run.job.checkpoint.keep, run.observer.warning)

    def warn(path: Path | str, reason: str) -> None:
        run.observer.warning(f"{path}: {reason}; using the one before it")

    newest = store.newest(warn)
    if newest is None:
        return run.begin(directory, prepared)
    run.check_origin(newest, directory)
    write_job(directory, run.job)
    return JobCheckpoints.progress_of(newest, run.first_progress(prepared))


def _result(before: MemberResult, summary: Summary) -> MemberResult:
    return replace(
        before,
        state=summary.state,
        message=summary.reason,
        steps=summary.step,
        model_step=summary.model_step,
        loss=summary.loss,
        rms=summary.rms,
        validation=None if summary.validation is None else dict(summary.validation),
        seconds=before.seconds + summary.seconds,
        parameters_sha256=summary.parameters_sha256,
    )


def _reason(results: Sequence[MemberResult], best: MemberResult) -> str:
    done = [result for result in results if result.done]
    failed = sum(result.state == "FAILED" for result in results)
    told = f"{failed} failed; " if failed else ""
    name = f"run {best.number}" + (f" ({best.label})" if best.label else "")
    if len(done) < len(results):
        return f"stopped on request after {len(done)} of {len(results)} runs; {told}the best so far is {name}"
    return f"{len(results)} run{'s' if len(results) > 1 else ''} done; {told}the best is {name}"


class _Forwarding(Observer):
    """Passes on what a member reports as the report of the job that it belongs to."""

    def __init__(self, observer: Observer, home: JobDirectory, run: RunOf) -> None:
        self._observer, self._home, self._run = observer, home, run

    def stage(self, text: str) -> None:
        self._observer.stage(text)

    def loading(self, rows: int, total: int) -> None:
        self._observer.loading(rows, total)

    def started(self, plan: Plan) -> None:
        self._observer.started(replace(plan, job_id=self._home.id, directory=self._home.place, run=self._run))

    def step(self, metrics: StepMetrics) -> None:
        self._observer.step(metrics)

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        self._observer.checkpoint(step, path, seconds)

    def warning(self, text: str) -> None:
        self._observer.warning(text)

    def worker_lost(self, text: str) -> None:
        self._observer.worker_lost(text)
