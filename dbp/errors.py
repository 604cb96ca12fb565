"""Every error dbp raises on purpose.

An error a user can cause says *where* it happened, what was *seen*, what was *expected* and, where there is one,
what to do *next*. The command line turns the classes into exit codes; a traceback is shown for bugs only.

    DbpError
    ├── InputError             exit code 2: something handed to dbp is wrong; nothing was started
    │   ├── JobFileError       the job file (all its problems at once)
    │   ├── DataError          a table, or a column of it
    │   ├── ModelFileError     a model file
    │   ├── CheckpointError    a checkpoint that is damaged, or of another job
    │   ├── JobDirectoryError  a job directory that exists, is missing, or is in use
    │   ├── StorageError       a folder that cannot be read or written
    │   └── ServiceError       a service that is not there, does not let us in, or is described wrongly
    └── JobFailedError         exit code 1: the job ran and failed; its last good checkpoint is kept
        ├── NonFiniteLossError the loss became NaN or infinite
        ├── WorkersLostError   workers died and could not be replaced
        ├── StorageFailedError storage could not be written again and again; what was saved before is kept
        └── LeaseLostError     a newer run owns the job directory; this one stopped and changed nothing there
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class DbpError(Exception):
    """Base of all errors that dbp raises on purpose."""


class InputError(DbpError):
    """Something handed to dbp is wrong; nothing was started and nothing was changed."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a job file: where it stands and what is wrong with it."""

    path: str  # dotted path of the key, e.g. "optimizer.learning_rate"; "" for the file as a whole
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class JobFileError(InputError):
    """A job file that cannot be run. ``problems`` holds everything wrong with it, not only the first thing."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{source}: {count} problem{'s' if count != 1 else ''}"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class DataError(InputError):
    """A table that cannot be used; the message names the file and the column or row."""


class ModelFileError(InputError):
    """A file that is not a dbp model, or one that is damaged."""


class CheckpointError(InputError):
    """A checkpoint that is damaged or belongs to another job."""


class JobDirectoryError(InputError):
    """A job directory that already exists, does not exist, or is in use by another run."""


class StorageError(InputError):
    """A folder or file that cannot be read or written."""


class ServiceError(InputError):
    """A service that cannot be reached or started, does not let us in, or is described wrongly (address, token, configuration)."""


class JobFailedError(DbpError):
    """A job that ran and failed. What it had reached is kept in its job directory."""


class NonFiniteLossError(JobFailedError):
    """The loss became NaN or infinite at a step; the parameters before that step are kept."""


class WorkersLostError(JobFailedError):
    """Workers died and the limit of replacements was reached."""


class TooFewWorkersError(WorkersLostError):
    """Fewer workers are left than the job asks for at least, and there is no room for more now; it goes on when there is."""


class NodeUnfitError(DbpError):
    """A node where no worker of a job can run: other versions, or data that it does not see. `node` is Ray's name for it."""

    def __init__(self, node: str, text: str) -> None:
        super().__init__(node, text)  # both, so that it survives a journey between processes
        self.node, self.text = node, text

    def __str__(self) -> str:
        return self.text


class StorageFailedError(JobFailedError):
    """A running job's storage could not be written, though it was tried several times; what was saved before is kept."""


class LeaseLostError(JobFailedError):
    """A newer run owns the job directory. This one ended; what the newer one writes is what counts."""
