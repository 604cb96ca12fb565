"""Being the run that writes a job directory: the lease, the mirror at a URI, and what an earlier run left on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dbp.errors import DbpError, LeaseLostError, StorageError
from dbp.jobs.lease import Lease, Owner, claim
from dbp.jobs.working_folder import Leftover, WorkingFolder
from dbp.storage.atomic_files import storage_error, write_bytes
from dbp.storage.mirror import Mirror
from dbp.storage.remote import Folder

LINE_FILES = ("metrics.jsonl", "signals.jsonl", "log.txt")
_AT_START = ("job.yaml", "status.json", "environment.json", "sweep.json", *LINE_FILES)

Warn = Callable[[str], None]


@dataclass
class Hold:
    """What a run has of a job directory while it writes there. `parent`: of the directory that this one is a member of."""

    parent: Hold | None = None
    lease: Lease | None = None
    working: WorkingFolder | None = None
    leftover: Path | None = None  # what the run before left on this machine, where nobody wrote the job since
    forced: bool = False
    lost: LeaseLostError | None = None
    remote: bool = False

    def check(self) -> None:
        """Raise LeaseLostError where a newer run owns the directory. Asks the folder or the store."""
        for hold in self._chain():
            if hold.lost is not None:
                raise hold.lost
            if hold.lease is not None:
                try:
                    hold.lease.check()
                except LeaseLostError as error:
                    hold.lost = error
                    raise

    def check_cheaply(self) -> None:
        """Like `check`, but a store is not asked: the mirror does, before it sends anything, and this tells what it heard."""
        if not self.remote:
            self.check()
        for hold in self._chain():
            if hold.lost is not None:
                raise hold.lost

    def discard(self) -> None:
        """Remove the working folder, if there is one: nothing in it is needed any more, or nothing has come into it."""
        if self.working is not None:
            self.working.remove()
            self.working = None

    def _chain(self) -> Iterator[Hold]:
        hold: Hold | None = self
        while hold is not None:
            yield hold
            hold = hold.parent


@contextmanager
def holding(hold: Hold, folder: Folder, mirror: Mirror | None, force: bool, warn: Warn) -> Iterator[None]:
    """Have the lease inside the block, and the mirror working; at the end all is at the URI, or StorageError says what is not.

    The caller has the lock of the local directory.
    """
    hold.forced = force or (hold.parent is not None and hold.parent.forced)
    if hold.lease is None:
        hold.lease = claim(folder, Owner(), hold.forced, locked=mirror is None)
    try:
        if mirror is None:
            yield
        else:
            with _mirrored(hold, mirror, hold.lease, warn):
                yield
    finally:
        lease, hold.lease = hold.lease, None
        if hold.lost is None:
            with suppress(StorageError):  # then the next run waits until this one counts as gone
                lease.release()


@contextmanager
def _mirrored(hold: Hold, mirror: Mirror, lease: Lease, warn: Warn) -> Iterator[None]:
    leftovers: list[Leftover] = []
    if hold.working is not None:
        hold.working.note_epoch(lease.token)
        leftovers = hold.working.leftovers()
        hold.leftover = next((left.path for left in leftovers if lease.follows and left.lease == lease.follows), None)
    elif hold.parent is not None and hold.parent.leftover is not None:
        hold.leftover = hold.parent.leftover / mirror.local.relative_to(mirror.local.parents[1])
    if lease.follows is not None:  # a new directory is empty
        for name in _AT_START:
            mirror.fetch(mirror.local / name)
    if hold.leftover is not None:
        try:
            _take_over(hold.leftover, mirror, warn)
        except OSError as error:
            raise storage_error("be taken over", hold.leftover, error) from error
    for left in leftovers:
        left.remove()
    mirror.begin(hold.check, warn)
    try:
        yield
    except LeaseLostError:
        mirror.end()
        hold.discard()
        raise
    except BaseException as error:
        with suppress(DbpError):
            mirror.flush()
        _discard_if_complete(hold, mirror, error)
        raise
    else:
        try:
            mirror.flush()
        except DbpError as error:
            _discard_if_complete(hold, mirror, error)
            raise
        hold.discard()


def _discard_if_complete(hold: Hold, mirror: Mirror, error: BaseException) -> None:
    if mirror.complete or hold.lost is not None:
        hold.discard()
    elif hold.working is not None:
        error.add_note(
            f"what did not reach {mirror.remote.uri} is kept in {mirror.local}; `dbp resume` on this machine takes it over"
        )


def _take_over(leftover: Path, mirror: Mirror, warn: Warn) -> None:
    """Take what the run before has beyond the URI: checkpoints (the newest good one is looked for later), and further lines."""
    taken = []
    for source in sorted((leftover / "checkpoints").glob("step-*.safetensors")):
        target = mirror.local / "checkpoints" / source.name
        if source.is_file() and not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            taken.append(source.name)
    for name in LINE_FILES:
        source, target = leftover / name, mirror.local / name
        if source.is_file() and not source.is_symlink():
            known = target.read_bytes() if target.exists() else b""
            found = source.read_bytes()
            if len(found) > len(known) and found.startswith(known):
                write_bytes(target, found)
                mirror.soon(target)
                taken.append(name)
    if taken:
        warn(
            f"a run that ended unexpectedly left files on this machine that {mirror.remote.uri} may lack; "
            f"taking over what it lacks: {', '.join(taken)}"
        )
