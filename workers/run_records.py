"""What a run leaves in its job directory whatever happens: its job file and model, and how it ended if it did not end well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from dbp.errors import DbpError, LeaseLostError, StorageError, TooFewWorkersError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.jobs.status import State
from dbp.models.model import Model
from dbp.storage.atomic_files import write_text


def write_job(directory: JobDirectory, job: Job) -> None:
    """Write the job file of a directory; it is safe when this returns."""
    directory.check_lease()
    write_text(directory.job_file, job.to_yaml())
    directory.put(directory.job_file)


def save_model(directory: JobDirectory, model: Model) -> None:
    """Write the model of a directory; it is safe when this returns."""
    directory.check_lease()
    model.save(directory.model_file)
    directory.put(directory.model_file)


@contextmanager
def before_the_first_step(directory: JobDirectory) -> Iterator[None]:
    """Have a StorageError say that nothing is lost and what to do next."""
    try:
        yield
    except StorageError as error:
        error.add_note(
            f"no step was made, and nothing is lost: see to the storage, then go on with `dbp resume {directory.place}`"
        )
        raise


class Records(Protocol):
    """Where it is written down that a run ended badly."""

    def ended_badly(self, state: State, message: str) -> None:
        """Note that the run failed or was broken off."""
        ...


@contextmanager
def recording_failure(recorder: Records) -> Iterator[None]:
    """Have the records say how a run ended that did not end well; the error goes on."""
    try:
        yield
    except (LeaseLostError, TooFewWorkersError):
        raise  # the records are the newer run's, or go on with whoever waits for more workers
    except DbpError as error:
        with suppress(StorageError):  # where storage is what failed, that is what is to be told
            recorder.ended_badly("FAILED", str(error))
        raise
    except KeyboardInterrupt:
        with suppress(StorageError):
            recorder.ended_badly(
                "STOPPED", "interrupted; the steps since the last checkpoint are computed again by `dbp resume`"
            )
        raise
    except Exception as error:
        with suppress(StorageError):
            recorder.ended_badly("FAILED", f"a bug in dbp: {type(error).__name__}: {error}")
        raise
