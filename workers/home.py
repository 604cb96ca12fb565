"""Where a job of the service keeps its files, and who may write them: the seam to storage and leases.

A storage is a folder that all nodes see, or a URI that all of them reach. Driver and coordinator write the job's files in turn,
never at once: each claims the job's next epoch (see `dbp.jobs.lease`), at a URI in a working folder of its own, and lets go of it.
In a local folder the kernel's lock holds as well; that of a process on a lost node may take a while to be freed, so whoever
replaces it waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dbp.data.formats import format_of
from dbp.errors import JobDirectoryError
from dbp.jobs.directory import JobDirectory, Place
from dbp.jobs.status import Status, read_status
from dbp.storage.copying import copy_file
from dbp.storage.uris import below, is_remote

TAKE_OVER_S = 180.0  # Ray ends the processes of a node that was cut off at most so long after it noticed


@dataclass(frozen=True)
class Home:
    """The directory of a job of the service, named so that every node understands it."""

    storage: str
    id: str

    @property
    def place(self) -> Place:
        """The path of the job directory, or its URI."""
        return below(self.storage if is_remote(self.storage) else Path(self.storage), self.id)

    def status(self) -> Status | None:
        """Return what the status file says now, wherever the coordinator is that wrote it. JobDirectoryError, StorageError."""
        directory = JobDirectory.open(self.place)
        directory.fetch(directory.status_file)
        return read_status(directory.status_file)

    @contextmanager
    def owned(
        self, patience_s: float = 0.0, *, force: bool = False, warn: Callable[[str], None] = lambda _: None
    ) -> Iterator[JobDirectory]:
        """Be the only one who writes the job's files, inside the block; lends the directory. JobDirectoryError naming the holder.

        `force` takes the lease from a holder that is known to be dead: should it live on somewhere, it ends before it writes
        anything that counts. `patience_s` is how long to wait for a lock or lease that is about to be freed.
        """
        until = time.monotonic() + patience_s
        with ExitStack() as stack:
            while True:
                directory = JobDirectory.open(self.place, to_write=True)
                try:
                    stack.enter_context(directory.locked(force=force, warn=warn))
                    break
                except JobDirectoryError:
                    directory.hold.discard()
                    if time.monotonic() >= until:
                        raise
                    time.sleep(0.5)
            yield directory


@contextmanager
def new_home(storage: str, job_id: str) -> Iterator[JobDirectory]:
    """Make the directory of a new job and be the only one who writes there, inside the block. JobDirectoryError when it exists."""
    directory = JobDirectory.create(storage, job_id)
    with directory.locked():
        yield directory


def bring_inputs(directory: JobDirectory, folder: Path, inputs: Mapping[str, str]) -> dict[str, str]:
    """Copy the files that travelled with a job into its directory; return where they are now, by key."""
    places = {}
    for key, name in inputs.items():
        known = format_of(name)
        target = directory.path / "inputs" / f"{key.replace('.', '-')}{known.ending if known else Path(name).suffix}"
        target.parent.mkdir(mode=0o700, exist_ok=True)
        copy_file(folder / name, target)
        directory.put(target)
        places[key] = str(directory.place_of(target))
    return places
