"""Checkpoints of a folder that is kept at a URI: acknowledged only when they are there.

At the URI each epoch (see `dbp.jobs.lease`) has a folder of its own: ``checkpoints/e00000002/step-00000120.safetensors``. A
run writes and removes in its own folder only. The newest checkpoint is the one of the highest step in the highest epoch that
has a good one. So a run that was taken for dead and is not can neither replace nor remove what a newer run wrote, nor make
its own the newest, even by a request that was on its way for minutes. For that, a run that goes on from a checkpoint of an
older epoch puts it into its own folder first. Older epochs are kept, against damage, until this one has as many checkpoints
as are to be kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dbp.errors import CheckpointError, StorageError
from dbp.storage.checkpoints import Checkpoint, CheckpointEntry, CheckpointStore
from dbp.storage.mirror import Mirror
from dbp.storage.remote import Folder

_EPOCH = re.compile(r"e([0-9]{8})")


@dataclass(frozen=True)
class MirroredCheckpoints(CheckpointStore):
    """A `CheckpointStore` whose folder is below a mirror's. `epoch` is the run's own; None to read only."""

    mirror: Mirror | None = None
    epoch: int | None = None

    def save(self, checkpoint: Checkpoint, first: Callable[[], None] | None = None) -> Path:
        """See `CheckpointStore`. Metrics and log up to here are at the URI as well when this returns."""
        mirror = self._mirror
        path = super().save(checkpoint, first)
        mirror.put_lines()
        mirror.put(path, self._name(self._own, checkpoint.step))
        self.before_save()  # what a newer run may not have seen does not count as saved
        self._retire_remote(checkpoint.step)
        return path

    def newest(self, on_damaged: Callable[[Path | str, str], None]) -> Checkpoint | None:
        """See `CheckpointStore`. Where this run has an epoch of its own, the checkpoint is in its folder when this returns.

        One that is here and not at the URI counts where it is newer than all of those: see `dbp.jobs.working_folder`.
        """
        local = super().newest(on_damaged) if self.epoch is not None else None
        for epoch, step in self._candidates():
            if local is not None and local.step > step:
                break
            found = self._bring(epoch, step, on_damaged)
            if found is not None:
                if self.epoch is not None and epoch != self.epoch:
                    self._mirror.put(self.path(step), self._name(self.epoch, step))
                return found
        if local is not None and self.epoch is not None:
            self._mirror.put(self.path(local.step), self._name(self.epoch, local.step))
        return local

    def steps(self) -> list[int]:
        """See `CheckpointStore`; those of a run that reads are the URI's."""
        if self.epoch is not None:
            return super().steps()
        return sorted({step for _, step in self._candidates()})

    def load(self, step: int) -> Checkpoint:
        """See `CheckpointStore`. The file is here, at `path`, when this returns."""
        if self.epoch is not None:
            return super().load(step)
        for epoch, known in self._candidates():
            if known == step:
                return self._checked(epoch, step)
        raise CheckpointError(f"{self._mirror.remote.uri}: no checkpoint of step {step}")

    def listing(self) -> list[CheckpointEntry]:
        """See `CheckpointStore`. Each is brought here, one after the other, to be checked."""
        entries = []
        for epoch, step in sorted(self._candidates(), key=lambda candidate: candidate[1]):
            folder, name = self._folder(epoch), self._file(step)
            problem = None
            try:
                self._checked(epoch, step)
            except CheckpointError as error:
                problem = str(error).partition(": ")[2]
            with suppress(StorageError):  # a running job may have retired it just now
                entries.append(
                    CheckpointEntry(step, self.path(step), folder.size(name), problem, f"{folder.uri}/{name}")
                )
        return entries

    def places(self) -> dict[int, tuple[Folder, str]]:
        """Return where the checkpoints are at the URI, by step: the folder, and the name in it. Nothing is brought here."""
        return {step: (self._folder(epoch), self._file(step)) for epoch, step in sorted(self._candidates())}

    def _candidates(self) -> list[tuple[int, int]]:
        """Return (epoch, step) of the checkpoints at the URI, the one to go on from first.

        A step of an older epoch counts only below all steps of the newer ones: the others are from a run that had lost its lease.
        """
        found: list[tuple[int, int]] = []
        limit: int | None = None
        for epoch, names in sorted(self._epochs().items(), reverse=True):
            steps = [step for step in self.steps_of(names) if limit is None or step < limit]
            found += [(epoch, step) for step in reversed(steps)]
            limit = min(steps, default=limit)
        return found

    def _epochs(self) -> dict[int, list[str]]:
        """Return the names in each epoch's folder; those of a job directory that somebody copied there are in epoch 0."""
        names = self._folder(0).names()
        epochs = {int(match[1]): name for name in names if (match := _EPOCH.fullmatch(name))}
        return {0: names} | {epoch: self._folder(epoch).names() for epoch in epochs}

    def _bring(self, epoch: int, step: int, on_damaged: Callable[[Path | str, str], None]) -> Checkpoint | None:
        try:
            return self._checked(epoch, step)
        except CheckpointError as error:
            on_damaged(f"{self._folder(epoch).uri}/{self._file(step)}", str(error).partition(": ")[2])
            return None

    def _checked(self, epoch: int, step: int) -> Checkpoint:
        """Bring a checkpoint here and check it; a second time if need be, since bytes can be damaged on their way too."""
        folder = self._folder(epoch)
        for more_tries in (True, False):
            self._make_local_folder()
            folder.download(self._file(step), self.path(step))
            try:
                return super().load(step)
            except CheckpointError as error:
                reason = str(error).removeprefix(f"{self.path(step)}: ")
                self.path(step).unlink(missing_ok=True)
                if not more_tries:
                    raise CheckpointError(f"{folder.uri}/{self._file(step)}: {reason}") from error
        raise AssertionError

    def _make_local_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def _retire_remote(self, saved: int) -> None:
        """Remove what is beyond the newest `keep`. Where that fails nothing is lost, so the run goes on with a warning."""
        try:
            steps = [step for step in self.steps_of(self._folder(self._own).names()) if step <= saved]
            for step in steps[: -self.keep]:
                self._folder(self._own).remove(self._file(step))
            if len(steps) >= self.keep:
                self._remove_older_epochs()
        except StorageError as error:
            self.warn(f"an old checkpoint could not be removed: {error}")

    def _remove_older_epochs(self) -> None:
        for epoch, names in self._epochs().items():
            if epoch < self._own:
                for step in self.steps_of(names):
                    self._folder(epoch).remove(self._file(step))

    @property
    def _mirror(self) -> Mirror:
        if self.mirror is None:
            raise ValueError("a mirrored store has a mirror")
        return self.mirror

    @property
    def _own(self) -> int:
        if self.epoch is None:
            raise ValueError("this store only reads; a run that writes has an epoch")
        return self.epoch

    def _file(self, step: int) -> str:
        return self.path(step).name

    def _name(self, epoch: int, step: int) -> str:
        return f"{self._mirror.name(self.folder)}/e{epoch:08d}/{self._file(step)}"

    def _folder(self, epoch: int) -> Folder:
        folder = self._mirror.remote.child(self._mirror.name(self.folder))
        return folder if epoch == 0 else folder.child(f"e{epoch:08d}")
