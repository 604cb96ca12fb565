"""Checkpoints: one file per step, the newest few kept, damaged ones noticed and passed over.

A checkpoint is *there* once `CheckpointStore.save` returns: its file has its final name and the folder is on the disk.
Older ones are removed only after that, so at every instant, power loss included, the newest acknowledged checkpoint can be read.
"Newest" means the highest step; clocks and modification times are not asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbp.errors import CheckpointError
from dbp.storage.array_file import Array, ArrayFileError, read_arrays, write_arrays
from dbp.storage.atomic_files import Json, make_folder, storage_error

_NAME = re.compile(r"step-([0-9]{8,18})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to go on from `step`: named arrays, and metadata that is plain JSON."""

    step: int
    arrays: Mapping[str, Array]
    metadata: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON, known only when read


@dataclass(frozen=True)
class CheckpointEntry:
    """One line of `CheckpointStore.listing`: `problem` is None for a good checkpoint, else what is wrong with it."""

    step: int
    path: Path
    size: int  # bytes
    problem: str | None
    uri: str | None = None  # where it is kept, if that is not `path`

    @property
    def valid(self) -> bool:
        """Whether the checkpoint can be used."""
        return self.problem is None


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints in `folder` (made when the first is saved), of which the newest `keep` are kept.

    One process saves at a time (the job directory's lock sees to it); any number may read.
    """

    folder: Path
    keep: int = 3
    before_save: Callable[[], None] = lambda: None  # raises where this process may not write any more
    warn: Callable[[str], None] = lambda text: None  # hears of an old checkpoint that could not be removed
    _safe: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)  # the folder, once its name is

    _doubtful: set[int] = field(
        default_factory=set, init=False, repr=False, compare=False
    )  # may be there, were not acknowledged

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"keep is {self.keep}; expected at least 1")

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` is, or would be."""
        return self.folder / f"step-{step:08d}.safetensors"

    def save(self, checkpoint: Checkpoint, first: Callable[[], None] | None = None) -> Path:
        """Write a checkpoint, then remove those beyond the newest `keep`; return its path. StorageError if it fails.

        If it fails, every older checkpoint is still there. A step that exists is replaced as a whole. `first` is done before the
        checkpoint is there, and the checkpoint fails if it fails.
        """
        if checkpoint.step < 0:
            raise ValueError(f"step is {checkpoint.step}; expected 0 or more")
        self.before_save()
        self._make_folder()
        path = self.path(checkpoint.step)
        metadata: dict[str, Json] = {"step": checkpoint.step, "metadata": dict(checkpoint.metadata)}
        self._doubtful.add(checkpoint.step)
        write_arrays(path, checkpoint.arrays, metadata, first)
        self._doubtful.discard(checkpoint.step)
        self._retire(checkpoint.step)
        return path

    def _make_folder(self) -> None:
        if self.folder in self._safe and os.path.isdir(self.folder):
            return
        try:
            with suppress(FileExistsError):  # if it is not a folder, writing into it says so
                make_folder(self.folder)
        except OSError as error:
            raise storage_error("be made", self.folder, error) from error
        self._safe.add(self.folder)

    def _retire(self, saved: int) -> None:
        # Later steps than the one just saved can only be damaged ones that a resumed run passed over: they do not count,
        # or they would push out good ones. They are replaced when the run gets there again.
        # Nor does one count whose folder could not be synced: it is there now, and may not be after a loss of power.
        steps = [step for step in self.steps() if step <= saved]
        kept = [step for step in steps if step not in self._doubtful][-self.keep :]
        for step in [step for step in steps if kept and step < kept[0]]:
            path = self.path(step)
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
            except OSError as error:  # the new one is there all the same, and the old one goes another time
                self.warn(f"an old checkpoint could not be removed: {storage_error('be removed', path, error)}")

    def steps(self) -> list[int]:
        """The steps that have a file, ascending; [] when there is no folder yet. The files have not been checked."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error("be read", self.folder, error) from error
        return self.steps_of(names)

    def steps_of(self, names: Iterable[str]) -> list[int]:
        """Return the steps that these file names are checkpoints of, ascending."""
        found = []
        for name in names:
            match = _NAME.fullmatch(name)
            if match and self.path(int(match[1])).name == name:  # one spelling per step
                found.append(int(match[1]))
        return sorted(found)

    def load(self, step: int) -> Checkpoint:
        """Return the checkpoint of `step`; CheckpointError when it is missing, damaged, a symbolic link or another step's."""
        path = self.path(step)
        try:
            arrays, metadata = read_arrays(path, follow_symlinks=False)
        except ArrayFileError as error:
            raise CheckpointError(f"{path}: {error.reason}") from error
        own, inner = metadata.get("step"), metadata.get("metadata")
        if type(own) is not int or not isinstance(inner, dict):
            raise CheckpointError(f"{path}: not a checkpoint, though it holds arrays of dbp (a model file, renamed?)")
        if own != step:
            raise CheckpointError(f"{path}: holds step {own}, but its name says step {step}; was it renamed?")
        return Checkpoint(step, arrays, inner)

    def newest(self, on_damaged: Callable[[Path | str, str], None]) -> Checkpoint | None:
        """Return the good checkpoint with the highest step, or None when there is no good one.

        `on_damaged` is called with the file and the reason for every one passed over.
        """
        steps, gone = self.steps(), set[int]()
        while steps:
            step = steps.pop()
            try:
                return self.load(step)
            except CheckpointError as error:
                if _is_missing(error) and step not in gone:  # a running job has removed it just now: it has newer ones
                    gone.add(step)
                    steps = [*steps, *(each for each in self.steps() if each >= step)]
                    continue
                path = self.path(step)
                on_damaged(path, str(error).removeprefix(f"{path}: "))
        return None

    def listing(self) -> list[CheckpointEntry]:
        """Check every checkpoint; return one entry each, by ascending step."""
        return [entry for step in self.steps() if (entry := self._entry(step)) is not None]

    def _entry(self, step: int) -> CheckpointEntry | None:
        path = self.path(step)
        problem = None
        try:
            self.load(step)
        except CheckpointError as error:
            problem = str(error).removeprefix(f"{path}: ")
        with suppress(FileNotFoundError):  # a running job may have retired it just now
            return CheckpointEntry(step, path, os.lstat(path).st_size, problem)
        return None


def _is_missing(error: CheckpointError) -> bool:
    return error.__cause__ is not None and isinstance(error.__cause__.__cause__, FileNotFoundError)
