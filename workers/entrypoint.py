"""The driver of a submitted job: ``python -m dbp.workers.entrypoint``, started by Ray in the folder that travelled with the job.

    submission.json -> look at the nodes -> job directory -> supervise a coordinator (see `supervisor.py`) -> exit code

A SIGTERM (Ray's way to stop a job) stops it after its step, with a checkpoint; a second one stops it at once. The exit code is 0
for a job that succeeded or was stopped, 1 for one that failed, 2 for one that was refused. The last line says why.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import ray

from dbp.errors import DbpError, InputError
from dbp.jobs.clock import utc_now
from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.jobs.submission import SUBMISSION_FILE, Submission, read_submission
from dbp.storage.atomic_files import write_json
from dbp.training.stopping import StopRequest
from dbp.workers.coordinator_actor import Ended, Order, ended_by
from dbp.workers.driver_log import say
from dbp.workers.home import Home, bring_inputs, new_home
from dbp.workers.nodes import NodeCheck, files_of
from dbp.workers.run_records import write_job
from dbp.workers.supervisor import Supervisor
from dbp.workers.train import jobs_to_resume
from dbp.workers.warm_start import open_start

JOB_FILE = "job.yaml"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(folder: Path | None = None) -> int:
    """Run the job that lies in `folder` (default: the current one); return the exit code."""
    stop = StopRequest()
    with _stop_on_signals(stop) as listen:
        try:
            ended = run(folder or Path.cwd(), stop, listen)
        except KeyboardInterrupt:
            ended = Ended("STOPPED", "stopped at once")
        except Exception as error:
            if not isinstance(error, DbpError):
                logging.getLogger(__name__).exception("a bug in dbp")
            ended = ended_by(error)
        finally:
            with suppress(KeyboardInterrupt):
                ray.shutdown()
    refused = "refused: " if ended.refused else ""
    say(f"{ended.state}: {refused}{' | '.join(line.strip() for line in ended.message.splitlines())}")
    return 0 if ended.state != "FAILED" else 2 if ended.refused else 1


def run(folder: Path, stop: StopRequest, listen: Callable[[], None]) -> Ended:
    """Run the job on the Ray that this process is part of. DbpError where nothing could be begun."""
    submission = read_submission(folder / SUBMISSION_FILE)
    _connect()
    listen()  # Ray has put a handler of its own in the place of ours
    prepare = _prepare_new if submission.action == "train" else _prepare_resumed
    job, nodes = prepare(submission, folder)
    supervisor = Supervisor(
        home=Home(submission.storage, submission.job),
        job=job,
        order=lambda room: Order(submission.storage, submission.job, tuple(submission.overrides), room),
        restarts=job.service.restarts if submission.restarts is None else submission.restarts,
        stop=stop,
        say=say,
        check=nodes.look,
    )
    try:
        return supervisor.run()
    except KeyboardInterrupt:
        return supervisor.ended_at_once()


def _connect() -> None:
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"no Ray cluster to run on: {str(error).splitlines()[0]}") from error


def _prepare_new(submission: Submission, folder: Path) -> tuple[Job, NodeCheck]:
    """Look at the cluster and make the job directory of a job that is to be trained."""
    job = Job.from_file(folder / JOB_FILE, [f"storage={json.dumps(submission.storage, ensure_ascii=False)}"])
    start = open_start(job)
    if start is not None:
        job = job.starting_from(start.parameters_sha256)
    elsewhere = [path for key, path in files_of(job).items() if key not in submission.inputs]
    nodes = _look_at_nodes(submission.storage, elsewhere)
    with new_home(submission.storage, submission.job) as directory:
        places = bring_inputs(directory, folder, submission.inputs)
        brought = Job.from_text(
            job.to_yaml(), overrides=[f"{key}={json.dumps(path, ensure_ascii=False)}" for key, path in places.items()]
        )
        _note_submission(directory, submission)
        write_job(directory, brought)
    return brought, nodes


def _prepare_resumed(submission: Submission, folder: Path) -> tuple[Job, NodeCheck]:
    """Look at the cluster for a job that is to go on."""
    with Home(submission.storage, submission.job).owned() as directory:  # refused while it runs
        job, _ = jobs_to_resume(directory, submission.overrides)
        nodes = _look_at_nodes(submission.storage, files_of(job).values())
        _note_submission(directory, submission)
    return job, nodes


def _look_at_nodes(storage: str, files: Iterable[str]) -> NodeCheck:
    nodes = NodeCheck(storage, tuple(files))
    count = nodes.look()
    if count > 1:
        say(f"{count} nodes have the same versions, and see storage and data")
    return nodes


def _note_submission(directory: JobDirectory, submission: Submission) -> None:
    facts = {"format": 1, "address": ray.get_runtime_context().gcs_address, "attempt": submission.attempt}
    path = directory.path / SUBMISSION_FILE
    write_json(path, {**facts, "submitted": utc_now()})
    directory.put(path)


@contextmanager
def _stop_on_signals(stop: StopRequest) -> Iterator[Callable[[], None]]:
    """Turn a first signal into a stop request and a second one into KeyboardInterrupt; lend what puts the handlers back."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        with suppress(OSError):  # not sys.stdout: it may be in the middle of a write
            os.write(1, b"asked to stop: ends after this step, with a checkpoint\n")

    def listen() -> None:
        for number in _SIGNALS:
            signal.signal(number, handle)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    listen()
    try:
        yield listen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
