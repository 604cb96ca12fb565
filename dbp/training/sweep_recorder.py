"""Writes down how a job of several runs comes along: sweep.json, status.json and log.txt of the directory that holds them all."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import replace

from dbp.jobs.clock import utc_now
from dbp.jobs.directory import JobDirectory
from dbp.jobs.status import Runs, State, Status
from dbp.jobs.sweep_table import MemberResult, best_of, write_table
from dbp.storage.line_file import LineFile
from dbp.training.observers import Observer, Plan, RunOf, StepMetrics, Summary
from dbp.training.status_keeper import StatusKeeper


class SweepRecorder(Observer):
    """An observer of all members' runs, which hears of one after the other. Call `close` at the end."""

    def __init__(self, directory: JobDirectory, results: Sequence[MemberResult], attempt: int, workers: int) -> None:
        self._directory = directory
        self._results = {result.number: result for result in results}
        self._log = LineFile(directory.log_file)
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
        write_table(directory.table_file, self.results)
        self._keeper = StatusKeeper(directory.status_file, replace(status, runs=self._runs()))
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
        self._write(replace(status, workers=plan.workers, message=run_in_words(plan.run)))
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
        self._write(self._keeper.status)
        self._say(f"run {result.number}: {result.state}: {result.message}")

    def finished(self, summary: Summary) -> None:
        """See `Observer`."""
        status = replace(self._keeper.status, state=summary.state, message=summary.reason, rule=summary.rule)
        self._write(replace(status, step=summary.step, loss=summary.loss, model_step=summary.model_step))
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
        self._log.close()

    def _put(self, result: MemberResult) -> None:
        self._results[result.number] = result
        write_table(self._directory.table_file, self.results)

    def _write(self, status: Status) -> None:
        self._keeper.write(replace(status, runs=self._runs()))

    def _runs(self) -> Runs:
        best = best_of(self.results)
        done = sum(result.done for result in self.results)
        return Runs(done, len(self._results), None if best is None else best.number)

    def _say(self, text: str) -> None:
        self._log.append(f"{utc_now()} {text}".replace("\n", " | "))


def run_in_words(run: RunOf) -> str:
    """Return ``run 3 of 8 (optimizer.learning_rate=0.5)``."""
    return f"run {run.number} of {run.count}" + (f" ({run.label})" if run.label else "")
