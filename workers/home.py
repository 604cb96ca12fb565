"""Where a job of the service keeps its files, and who may write them: the seam to storage and leases.

A storage is a folder that all nodes see. Its lock is the kernel's (`JobDirectory.locked`), which frees it when a process ends;
that of a process on a lost node may take a while to be freed, so whoever replaces it waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dbp.errors import JobDirectoryError
from dbp.jobs.directory import JobDirectory
from dbp.storage.copying import copy_file

TAKE_OVER_S = 180.0  # Ray ends the processes of a node that was cut off at most so long after it noticed


def new_home(storage: str, job_id: str) -> JobDirectory:
    """Make the directory of a new job. JobDirectoryError when it is there already."""
    return JobDirectory.create(Path(storage), job_id)


def open_home(storage: str, job_id: str) -> JobDirectory:
    """Return the directory of a job that is there. JobDirectoryError when it is not."""
    return JobDirectory.open(Path(storage) / job_id)


def bring_inputs(home: JobDirectory, folder: Path, inputs: Mapping[str, str]) -> dict[str, str]:
    """Copy the files that travelled with a job into its directory; return where they are now, by key."""
    places = {}
    for key, name in inputs.items():
        target = home.path / "inputs" / f"{key.replace('.', '-')}{Path(name).suffix}"
        target.parent.mkdir(mode=0o700, exist_ok=True)
        copy_file(folder / name, target)
        places[key] = str(target)
    return places


@contextmanager
def owned(home: JobDirectory, patience_s: float = 0.0) -> Iterator[None]:
    """Be the only one who writes the job's files, inside the block. JobDirectoryError naming the holder if it is not to be had.

    `patience_s` is how long to wait for a holder that is known to be dead. (A lease is claimed by force here, where there is one.)
    """
    until = time.monotonic() + patience_s
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(home.locked())
                break
            except JobDirectoryError:
                if time.monotonic() >= until:
                    raise
                time.sleep(0.5)
        yield
