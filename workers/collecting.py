"""Fetching: which files of a job are wanted, and how they arrive whole and checked."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, TypeAlias

from dbp.errors import CheckpointError, JobDirectoryError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.metrics import read_metrics
from dbp.jobs.status import read_status
from dbp.jobs.view import JobView
from dbp.storage.array_file import ArrayFileError, read_arrays
from dbp.storage.atomic_files import atomic_path, storage_error
from dbp.workers.job_files import FileFacts, check_name
from dbp.workers.reading import CheckpointFacts, Survey
from dbp.workers.storages import Reading

Wanted: TypeAlias = int | Literal["best", "last"] | None
_MODEL = "model.safetensors"


@dataclass(frozen=True)
class Collector:
    """Fetches files of one job into a folder of this machine. `survey` is what the job has, its checkpoints checked."""

    view: JobView
    reading: Reading
    survey: Survey
    target: Path

    def fetch(self, wanted: Wanted, force: bool) -> list[Path]:
        """Write the job's records and what is `wanted`; return the paths written. None: the model, and those of a sweep's runs."""
        self._check_target(force)
        files = {check_name(file["name"]): file for file in self.survey["files"]}
        if wanted is None:
            if _MODEL not in files:
                raise self._no_model(files)
            return self._copy([files[name] for name in files if "checkpoints/" not in name])
        if any(name.startswith("members/") for name in files):
            raise CheckpointError(
                f"{self.view.job}: stands for several runs, and each has checkpoints of its own; leave --step out: the model is "
                "the best run's, and those of the others come along"
            )
        records = [files[name] for name in files if "/" not in name and name != _MODEL]
        if wanted != "best":
            return self._copy([*records, files[self._name_of_step(wanted, files)]])
        written = self._copy(records)
        return [*written, *self._copy([files[self._best(files)]])]

    def _check_target(self, force: bool) -> None:
        directory = JobDirectory(self.target)
        if os.path.lexists(self.target) and not self.target.is_dir():
            raise JobDirectoryError(f"{self.target}: is no folder; expected one to write to, or a new name")
        here = Path(self.view.directory)
        if self.reading.is_near and self.target.is_dir() and here.is_dir() and os.path.samefile(self.target, here):
            raise JobDirectoryError(f"{self.target}: is the job directory itself; expected another folder")
        try:
            empty = not self.target.is_dir() or not any(self.target.iterdir())
            if empty or force:
                return
            status = read_status(directory.status_file)
        except OSError as error:
            raise storage_error("be read", self.target, error) from error
        if status is None or status.job != self.view.job:
            raise JobDirectoryError(
                f"{self.target}: holds other files; expected a new or empty folder, or one that was fetched of this job. "
                "--force writes there all the same"
            )

    def _no_model(self, files: dict[str, FileFacts]) -> JobDirectoryError:
        steps = [str(step) for step in _steps(files)]
        there = f"; there are checkpoints of step {', '.join(steps)}: --step last fetches the newest" if steps else ""
        return JobDirectoryError(f"{self.view.job}: has no model: it is {self.view.state} ({self.view.message}){there}")

    def _name_of_step(self, wanted: int | Literal["last"], files: dict[str, FileFacts]) -> str:
        if wanted == "last":
            good = self._good_checkpoints()
            if not good:
                raise CheckpointError(
                    f"{self.view.job}: has no good checkpoint; it is {self.view.state}: {self.view.message}"
                )
            return _name(good[-1]["step"])
        name = _name(int(wanted))
        if name not in files:
            raise self._no_such_step(int(wanted), _steps(files))
        return name

    def _no_such_step(self, step: int, steps: Sequence[int]) -> CheckpointError:
        there = f"there are those of steps {', '.join(map(str, steps))}" if steps else "there is none yet"
        return CheckpointError(
            f"{self.view.job}: has no checkpoint of step {step}; {there} (`dbp checkpoints {self.view.job}`)"
        )

    def _best(self, files: dict[str, FileFacts]) -> str:
        """Return the file, of those that are kept, with the lowest validation loss (the training loss, without one)."""
        candidates = [(entry["step"], _name(entry["step"])) for entry in self._good_checkpoints()]
        status = read_status(self.target / "status.json")
        if _MODEL in files and status is not None:
            kept = status.step if status.model_step is None else status.model_step
            candidates.insert(0, (kept, _MODEL))
        if not candidates:
            raise CheckpointError(f"{self.view.job}: has neither a model nor a good checkpoint yet")
        steps = read_metrics(self.target / "metrics.jsonl").steps
        for key in ("validation_loss", "loss"):
            losses = {entry["step"]: entry[key] for entry in steps if _is_number(entry.get(key))}
            scored = [(losses[step], index, name) for index, (step, name) in enumerate(candidates) if step in losses]
            if scored:
                return min(scored)[2]
        return candidates[0][1] if candidates[0][1] == _MODEL else candidates[-1][1]

    def _good_checkpoints(self) -> list[CheckpointFacts]:
        return [entry for entry in self.survey["checkpoints"] or () if entry["valid"]]

    def _copy(self, files: Sequence[FileFacts]) -> list[Path]:
        parts = self.reading.contents(self.view.job, files)
        return [
            self._write(name, (data for _, data in group))
            for name, group in groupby(parts, key=lambda part: part[0]["name"])
        ]

    def _write(self, name: str, parts: Iterable[bytes]) -> Path:
        path = self.target / check_name(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error("be made", path.parent, error) from error
        with atomic_path(path) as temporary:
            with open(temporary, "wb") as target:
                target.writelines(_whole_lines(parts) if path.suffix in (".jsonl", ".txt") else parts)
            if path.suffix == ".safetensors":
                try:
                    read_arrays(temporary)
                except ArrayFileError as error:
                    raise CheckpointError(
                        f"{name} of {self.view.job}: {error.reason}; it was not written here"
                    ) from error
        return path


def _whole_lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what ends with its line: the file may be growing."""
    rest = b""
    for part in parts:
        data = rest + part
        end = data.rfind(b"\n") + 1
        yield data[:end]
        rest = data[end:]


def _name(step: int) -> str:
    return f"checkpoints/step-{step:08d}.safetensors"


def _steps(files: dict[str, FileFacts]) -> list[int]:
    found = []
    for name in files:
        folder, _, file = name.rpartition("/")
        if folder == "checkpoints":
            found.append(int(file.removeprefix("step-").removesuffix(".safetensors")))
    return sorted(found)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
