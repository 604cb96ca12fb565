"""Epochs: at any time one run writes a job directory, wherever the directory and the run are.

Each run claims the next number by making ``lease-00000002.json``, which the file system or object store lets one of several do
(hard link, If-None-Match). The highest epoch owns the directory. Its holder looks before each write whether there is a higher one,
and ends with LeaseLostError if so: that is what makes two writers safe, whatever their clocks say.

Clocks only decide about politeness: whether a claim is refused because the holder seems to live. It is taken for gone when it
has said so (`release`), when the status file says that the job ended after the claim, when its process on this host is gone,
or when neither the claim nor the last heartbeat is younger than HEARTBEAT_LOST_S. A supervisor that knows better claims with
`force`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dbp.errors import JobDirectoryError, LeaseLostError, StorageError
from dbp.jobs.clock import utc_now
from dbp.jobs.processes import is_gone
from dbp.jobs.status import HEARTBEAT_LOST_S
from dbp.storage.remote import Folder, MissingFileError

_NAME = re.compile(r"lease-([0-9]{8})\.json")
_MAX_BYTES = 100_000
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_ours: set[str] = set()  # tokens of the leases that this process holds


@dataclass(frozen=True)
class Owner:
    """Who runs a job: told to others who want to."""

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    node: str = ""  # of a cluster


@dataclass(frozen=True)
class _Record:
    """What a lease file says; of one that cannot be read, that somebody has it."""

    epoch: int
    host: str
    pid: int
    claimed: str
    token: str
    released: bool

    @classmethod
    def read(cls, folder: Folder, epoch: int) -> _Record:
        facts = _json(folder, _name(epoch))
        return cls(
            epoch,
            str(facts.get("host", ""))[:200],
            pid if isinstance(pid := facts.get("pid"), int) else 0,
            str(facts.get("claimed", ""))[:40],
            str(facts.get("token", "")),
            facts.get("released") is not None,
        )


class Lease:
    """The right to write a job directory, as long as nobody has claimed a higher epoch."""

    def __init__(self, folder: Folder, epoch: int, owner: Owner, facts: dict[str, Any], follows: str | None) -> None:
        self.folder, self.epoch, self.owner = folder, epoch, owner
        self.follows = follows  # the token of the epoch before
        self._facts = facts  # Any: JSON

    @property
    def token(self) -> str:
        """A random name for this epoch of this directory: another directory of the same name has other ones."""
        return str(self._facts["token"])

    def check(self) -> None:
        """Raise LeaseLostError when a newer run owns the directory; StorageError when that cannot be found out."""
        if self.folder.exists(_name(self.epoch + 1)):  # epochs leave no gaps
            newer = _Record.read(self.folder, self.epoch + 1)
            raise LeaseLostError(
                f"{self.folder.uri}: a newer run owns this directory (epoch {newer.epoch}, pid {newer.pid} on host "
                f"{newer.host or 'unknown'} since {newer.claimed}; this one is epoch {self.epoch}); this run ends"
            )

    def release(self) -> None:
        """Say that this run is over, so that the next need not wait. StorageError when that cannot be written."""
        _ours.discard(self.token)
        if not self.folder.exists(_name(self.epoch)):  # whoever deleted the job meant it
            return
        self.folder.write(_name(self.epoch), _encoded({**self._facts, "released": utc_now()}))


def claim(
    folder: Folder,
    owner: Owner,
    force: bool = False,
    *,
    locked: bool = False,
    first: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Lease:
    """Claim the next epoch of a job directory.

    `force`: the holder is known to be dead, or is to be fenced off. `locked`: the caller holds the directory's lock, so nobody else
    on this host runs the job. `first`: the directory is new; refused where any epoch was claimed before.
    Raises JobDirectoryError naming the holder when it may still be alive.
    """
    while True:
        newest = newest_epoch(folder)
        holder = _Record.read(folder, newest) if newest else None
        if holder is not None and (first or not (force or _is_over(folder, holder, locked, now()))):
            raise _refused(folder, holder)
        token = secrets.token_hex(16)
        facts = {
            "epoch": newest + 1,
            "host": owner.host,
            "pid": owner.pid,
            "node": owner.node,
            "claimed": utc_now(),
            "token": token,
        }
        if folder.create(_name(newest + 1), _encoded(facts)):
            _ours.add(token)
            return Lease(folder, newest + 1, owner, facts, holder.token if holder else None)


def newest_epoch(folder: Folder) -> int:
    """Return the highest epoch claimed so far; 0 for none."""
    return max((int(match[1]) for name in folder.names() if (match := _NAME.fullmatch(name))), default=0)


def _is_over(folder: Folder, holder: _Record, locked: bool, now: datetime) -> bool:
    """Whether the holder's run has ended, as far as can be told."""
    if holder.released:
        return True
    here = holder.host == socket.gethostname()
    if here and (locked or (holder.pid == os.getpid() and holder.token not in _ours)):
        return True
    status = _json(folder, "status.json")
    heartbeat = str(status.get("heartbeat", ""))
    if status.get("state") in _ENDED and _time(heartbeat) > _time(holder.claimed) > _NEVER:
        return True
    if here:
        return is_gone(holder.pid, max(holder.claimed, heartbeat))
    return now - max(_time(holder.claimed), _time(heartbeat)) > timedelta(seconds=HEARTBEAT_LOST_S)


def _refused(folder: Folder, holder: _Record) -> JobDirectoryError:
    who = f"pid {holder.pid} on host {holder.host or 'unknown'} since {holder.claimed}"
    return JobDirectoryError(
        f"{folder.uri}: in use by {who} (epoch {holder.epoch}); one run at a time. If it is dead, it counts as gone "
        f"{HEARTBEAT_LOST_S} s after its last sign of life"
    )


_NEVER = datetime.min.replace(tzinfo=UTC)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _NEVER
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _name(epoch: int) -> str:
    return f"lease-{epoch:08d}.json"


def _encoded(facts: dict[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2) + "\n").encode()


def _json(folder: Folder, name: str) -> dict[str, Any]:
    """Return a small JSON file; nothing where it is missing, too large or damaged."""
    try:
        value = json.loads(folder.read(name, _MAX_BYTES))
    except MissingFileError:
        return {}
    except StorageError as error:
        if "larger than" in str(error):
            return {}
        raise
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
