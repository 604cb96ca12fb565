"""Writes down how a job of several runs comes along: sweep.json, status.json and log.txt of the directory that holds them all."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from dbp.errors import StorageError
from dbp.jobs.clock import utc_now
from dbp.jobs.directory import JobDirectory
from dbp.jobs.status import Runs, State, Status, WorkersRange
from dbp.jobs.sweep_table import MemberResult, best_of, write_table
from dbp.storage.kept_lines import KeptLines
from dbp.training.observers import Observer, Plan, RunOf, StepMetrics, Summary
from dbp.training.saving import failing_with, persistently
from dbp.training.status_keeper import StatusKeeper


class SweepRecorder(Observer):
    """An observer of all members' runs, which hears of one after the other. Call `close` at the end."""

    def __init__(
        self,
        directory: JobDirectory,
        results: Sequence[MemberResult],
        attempt: int,
        workers: int,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._directory = directory
        self._results = {result.number: result for result in results}
        self._warn = warn
        self._log = KeptLines(directory.log_file)
        now = utc_now()
        status = Status(
            job=directory.id,
            state="RUNNING",
            step=0,
            max_steps=1,
            loss=None,
            message="starting",
            attempt=attempt,
            heartbeat=now,
            pid=os.getpid(),
            host=socket.gethostname(),
            started=now,
            workers=workers,
        )
        self._write_table()
        self._keeper = StatusKeeper(directory, replace(status, runs=self._runs()), warn=warn)
        self._say(f"attempt {attempt}: {len(results)} runs, {sum(result.done for result in results)} of them done")

    @property
    def results(self) -> list[MemberResult]:
        """How far each member has come, by number."""
        return list(self._results.values())

    def started(self, plan: Plan) -> None:
        """See `Observer`."""
        if plan.run is None:
            raise ValueError("a plan of one of several runs says which one it is")
        self._put(replace(self._results[plan.run.number], state="RUNNING"))
        status = replace(self._keeper.status, step=plan.first_step - 1, max_steps=plan.max_steps, loss=None)
        status = replace(status, workers=plan.workers, message=run_in_words(plan.run), runs=self._runs())
        status = replace(status, workers_range=WorkersRange.of(plan.job))
        self._keeper.write_if_possible(status)
        self._say(f"{run_in_words(plan.run)}: from step {plan.first_step} to {plan.max_steps}")

    def step(self, metrics: StepMetrics) -> None:
        """See `Observer`."""
        status = self._keeper.status
        self._keeper.note(replace(status, step=metrics.step, loss=metrics.loss, workers=metrics.workers))

    def warning(self, text: str) -> None:
        """See `Observer`."""
        self._say(f"warning: {text}")

    def member_finished(self, result: MemberResult) -> None:
        """See `Observer`."""
        self._put(result)
        self._keeper.write_if_possible(replace(self._keeper.status, runs=self._runs()))
        self._say(f"run {result.number}: {result.state}: {result.message}")

    def finished(self, summary: Summary) -> None:
        """See `Observer`."""
        status = replace(self._keeper.status, state=summary.state, message=summary.reason, rule=summary.rule)
        status = replace(status, step=summary.step, loss=summary.loss, model_step=summary.model_step)
        with failing_with("the model and the runs' results are safe; `dbp resume` writes the rest"):
            persistently(lambda: self._write(status), self._warn)
        self._say(f"{summary.state}: {summary.reason}; SHA-256 {summary.parameters_sha256}")

    def ended_badly(self, state: State, message: str) -> None:
        """Note that the job failed or was broken off; the run under way can be gone on with."""
        for result in self.results:
            if result.state == "RUNNING":
                self._put(replace(result, state="STOPPED", message=message))
        self._write(replace(self._keeper.status, state=state, message=message))
        self._say(f"{state}: {message}")

    def close(self) -> None:
        """Close the files."""
        self._keeper.close()
        with suppress(StorageError):
            self._log.sync()
        self._log.close()

    def _put(self, result: MemberResult) -> None:
        self._results[result.number] = result
        with failing_with("the runs that are done are safe; see to the storage, then go on with `dbp resume`"):
            persistently(self._write_table, self._warn)

    def _write_table(self) -> None:
        self._directory.check_lease()
        write_table(self._directory.table_file, self.results)
        self._directory.put(self._directory.table_file)  # what is done is not to be done again

    def _write(self, status: Status) -> None:
        self._keeper.write(replace(status, runs=self._runs()))

    def _runs(self) -> Runs:
        best = best_of(self.results)
        done = sum(result.done for result in self.results)
        return Runs(done, len(self._results), None if best is None else best.number)

    def _say(self, text: str) -> None:
        self._log.append(f"{utc_now()} {text}".replace("\n", " | "))
        self._directory.soon(self._directory.log_file)


def run_in_words(run: RunOf) -> str:
    """Return ``run 3 of 8 (optimizer.learning_rate=0.5)``."""
    return f"run {run.number} of {run.count}" + (f" ({run.label})" if run.label else "")
