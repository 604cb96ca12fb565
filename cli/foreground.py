"""A training run in the foreground: what `dbp run` and `dbp resume` share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from dbp.cli.errors import INTERRUPTED
from dbp.cli.interrupt import stop_on_signals
from dbp.cli.options import DEFAULT_STORAGE
from dbp.cli.output import Mode, Output, talk
from dbp.cli.progress import BarProgress, LineProgress, RunRecord, Warnings, duration, on_a_live_terminal
from dbp.cli.runs import runs_json, show_runs
from dbp.errors import JobFailedError
from dbp.jobs.directory import MODEL_FILE
from dbp.storage.uris import below
from dbp.training.observers import Observer, Observers, Summary
from dbp.training.stopping import StopRequest

if TYPE_CHECKING:
    from dbp.workers.train import Result

Start = Callable[[Observer, StopRequest], "Result"]


def run_in_foreground(start: Start, *, json: bool, quiet: bool) -> None:
    """Run `start` with progress and Ctrl-C; report its end on standard output.

    Raises JobFailedError when the job failed, after reporting it; SystemExit(130) when it was stopped,
    KeyboardInterrupt when it was stopped twice.
    """
    output = Output(json=json)
    record, stop = RunRecord(), StopRequest()
    try:
        # What a library prints meanwhile is talk: standard output is for the result.
        with _progress(quiet) as drawing, stop_on_signals(stop), redirect_stdout(sys.stderr):
            summary = start(Observers(record, drawing), stop).summary
    except JobFailedError as error:
        _report_failure(record, error, output)
        raise
    except KeyboardInterrupt as error:
        if record.plan is not None:
            error.add_note(f"left with {record.kept}; to go on: dbp resume {job_name(record.plan.directory)}")
        raise
    _report(summary, output)
    if summary.state == "STOPPED":
        talk(f"stopped. To go on: dbp resume {job_name(summary.directory)}")
        raise SystemExit(INTERRUPTED)
    if not quiet and not json:
        name = job_name(summary.directory)
        curves = name
        if summary.members:
            best = next(member for member in summary.members if member.number == (summary.best or 1))
            curves = shlex.quote(str(shown_path(below(summary.directory, best.directory))))
        talk(f"\nnext:  dbp predict {name} TABLE -o predictions.csv\n       dbp plot {curves}")


def job_name(directory: Path | str) -> str:
    """Return what to type for a job: its id where it lies in the default storage folder, else its directory or URI."""
    if isinstance(directory, str):
        return shlex.quote(directory)
    in_default = directory.resolve().parent == Path(DEFAULT_STORAGE).resolve()
    return shlex.quote(directory.name if in_default else str(directory))


def shown_path(path: Path | str) -> Path | str:
    """Return the path as a person would type it: relative where it lies below the current folder. A URI stays."""
    if isinstance(path, str):
        return path
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@contextmanager
def _progress(quiet: bool) -> Iterator[Observer]:
    if quiet:
        yield Warnings()
    elif on_a_live_terminal():
        with BarProgress() as bar:
            yield bar
    else:
        yield LineProgress()


def _report(summary: Summary, output: Output) -> None:
    if summary.members:
        _report_runs(summary, output)
        return
    if output.mode is Mode.JSON:
        output.json(
            {
                "job": summary.job_id,
                "directory": summary.directory,
                "state": summary.state,
                "reason": summary.reason,
                "rule": summary.rule,
                "steps": summary.step,
                "model_step": summary.model_step,
                "loss": summary.loss,
                "rms": summary.rms,
                "validation": summary.validation,
                "model": below(summary.directory, MODEL_FILE),
                "parameters_sha256": summary.parameters_sha256,
                "seconds": summary.seconds,
            }
        )
        return
    fields: dict[str, object] = {
        "job": summary.job_id,
        "state": f"{summary.state}: {summary.reason}",
        "steps": summary.step,
        "loss": summary.loss,
    }
    if summary.validation is not None:
        fields["validation"] = summary.validation
    kept = "" if summary.model_step == summary.step else f" (of step {summary.model_step}, the lowest validation loss)"
    fields["model"] = f"{shown_path(below(summary.directory, MODEL_FILE))}{kept}"
    fields["parameters"] = f"SHA-256 {summary.parameters_sha256}"
    fields["time"] = duration(summary.seconds)
    output.fields(fields)


def _report_runs(summary: Summary, output: Output) -> None:
    model = below(summary.directory, MODEL_FILE)
    if output.mode is Mode.JSON:
        output.json(
            {
                "job": summary.job_id,
                "directory": summary.directory,
                "state": summary.state,
                "reason": summary.reason,
                "model": model,
                "seconds": summary.seconds,
                **runs_json(summary.members, summary.directory),
            }
        )
        return
    show_runs(summary.members, output)
    output.text("")
    output.fields(
        {
            "job": summary.job_id,
            "state": f"{summary.state}: {summary.reason}",
            "model": f"{shown_path(model)} (of run {summary.best})",
            "parameters": f"SHA-256 {summary.parameters_sha256}",
            "time": duration(summary.seconds),
        }
    )


def _report_failure(record: RunRecord, error: JobFailedError, output: Output) -> None:
    plan, last = record.plan, record.last_step
    if output.mode is Mode.JSON:
        output.json(
            {
                "job": plan.job_id if plan else None,
                "directory": plan.directory if plan else None,
                "state": "FAILED",
                "message": str(error),
                "steps": last.step if last else (plan.first_step - 1 if plan else 0),
                "loss": last.loss if last else None,
                "validation": None,
                "parameters_sha256": None,
                "seconds": record.seconds,
                **(runs_json(record.members, plan.directory) if plan and plan.run else {}),
            }
        )
    if plan is not None:
        error.add_note(
            f"kept: {shown_path(plan.directory)}, with {record.kept}; see: dbp status {job_name(plan.directory)}"
        )
