"""A disk that may lose whatever was not synced.

The model is pessimistic, as POSIX allows. What a file holds is safe once that file was fsynced; that a name is in a folder is
safe once that folder was fsynced. Until then every single change may reach the disk or not, whatever happened to the others:
each block of 4 KiB of each write, each new, renamed or removed name. A rename is one change. A failed fsync makes nothing safe,
and no later fsync makes up for it: the kernel has forgotten what was dirty.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 4096
ROOT = 1
NEVER = -1  # as `safe_with`: no fsync helps any more
Contents = dict[str, bytes | None]  # by path below the root; None: a folder


@dataclass(frozen=True)
class Change:
    """One thing that a crash loses or keeps as a whole. `inode` is the file or folder that it changes."""

    kind: str  # block, size, link, unlink, rename
    inode: int
    safe_with: int  # the inode whose fsync makes it safe
    name: str = ""
    new_name: str = ""
    target: int = 0  # the inode that a name leads to
    offset: int = 0
    data: bytes = b""


@dataclass
class Image:
    """What is on the disk."""

    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    files: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> Image:
        return Image({inode: dict(names) for inode, names in self.folders.items()}, dict(self.files))

    def apply(self, change: Change, zeros: bool = False) -> None:
        """Make a change; `zeros`: the file is as long as the change makes it, but its data did not arrive."""
        if change.kind == "block":
            old = self.files.get(change.inode, b"").ljust(change.offset, b"\0")
            data = bytes(len(change.data)) if zeros else change.data
            self.files[change.inode] = old[: change.offset] + data + old[change.offset + len(data) :]
        elif change.kind == "size":
            self.files[change.inode] = self.files.get(change.inode, b"")[: change.offset].ljust(change.offset, b"\0")
        elif change.kind == "link":
            self.folders.setdefault(change.inode, {})[change.name] = change.target
        elif change.kind == "unlink":
            self.folders.setdefault(change.inode, {}).pop(change.name, None)
        else:
            names = self.folders.setdefault(change.inode, {})
            names.pop(change.name, None)
            names[change.new_name] = change.target

    def contents(self, kinds: dict[int, str]) -> Contents:
        found: Contents = {}

        def walk(inode: int, prefix: str) -> None:
            for name, target in self.folders.get(inode, {}).items():
                path = prefix + name
                if kinds[target] == "folder":
                    found[path] = None
                    walk(target, path + "/")
                else:
                    found[path] = self.files.get(target, b"")

        walk(ROOT, "")
        return found


@dataclass(frozen=True)
class Event:
    """What a process did, in order: changes, the fsync of an inode (`synced`), or an acknowledgement (`told`)."""

    what: str
    changes: tuple[Change, ...] = ()
    synced: int | None = None
    forgotten: int | None = None  # an inode whose fsync failed
    told: Any = None


# ---- crash states


@dataclass(frozen=True)
class State:
    """What a crash after `event` may leave; `told` is all that was acknowledged before."""

    event: int
    told: tuple[Any, ...]
    contents: Contents


def crash_states(
    start: Image, kinds: dict[int, str], events: Sequence[Event], subsets: int, seed: int = 0, first: int = 0
) -> Iterator[State]:
    """Yield a state for each event from `first` on and each choice of changes that were not safe by then.

    The choices: all, none, one missing, only one, every prefix, and `subsets` random ones, in which data that did not arrive
    may leave zeros. None is yielded twice for one event.
    """
    draw = random.Random(seed)
    durable, pending, told = start.copy(), list[Change](), ()
    for number, event in enumerate(events):
        if event.synced is not None:
            durable, pending = _synced(durable, pending, event.synced)
        if event.forgotten is not None:
            pending = [
                Change(**{**change.__dict__, "safe_with": NEVER}) if change.safe_with == event.forgotten else change
                for change in pending
            ]
        pending += event.changes
        if event.told is not None:
            told = (*told, event.told)
        if number < first:
            continue
        for chosen in _choices(len(pending), subsets, draw):
            image = durable.copy()
            for change, fate in zip(pending, chosen, strict=True):
                if fate:
                    image.apply(change, zeros=fate == 2)
            yield State(number, told, image.contents(kinds))


def _synced(durable: Image, pending: list[Change], inode: int) -> tuple[Image, list[Change]]:
    left: list[Change] = []
    for change in pending:
        if change.safe_with == inode:
            durable.apply(change)
            # What was forgotten and is older than what is safe now can no longer come back.
            left = [old for old in left if not (old.inode == inode and _places(old) & _places(change))]
        else:
            left.append(change)
    return durable, left


def _places(change: Change) -> set[object]:
    if change.kind in ("block", "size"):
        return {change.offset // BLOCK}
    return {change.name, change.new_name} - {""}


def _choices(count: int, subsets: int, draw: random.Random) -> list[tuple[int, ...]]:
    """Return fates of `count` changes: 0 lost, 1 kept, 2 (data only) zeros in its place."""
    found = {(1,) * count, (0,) * count}
    for one in range(count):
        found.add(tuple(int(each != one) for each in range(count)))
        found.add(tuple(int(each == one) for each in range(count)))
        found.add(tuple(int(each < one) for each in range(count)))
    if count > 2:
        for _ in range(subsets):
            fates = draw.choice([(0, 1), (0, 1, 1, 1), (0, 1, 2), (0, 0, 0, 1)])
            found.add(tuple(draw.choice(fates) for _ in range(count)))
    return sorted(found)


def rebuild(contents: Contents, folder: Path) -> None:
    """Make an empty folder hold what a crash left."""
    for path, data in contents.items():
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)


def key_of(contents: Contents) -> Any:
    return tuple(sorted(contents.items()))
