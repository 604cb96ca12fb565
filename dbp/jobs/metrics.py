"""The metrics of a job: one JSON object per step, one per line, only ever appended to.

After a resume some steps are there twice: the later line counts. A line torn by a killed process is skipped and counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from dbp.errors import StorageError
from dbp.storage.atomic_files import Json, storage_error
from dbp.storage.kept_lines import KeptLines
from dbp.storage.records import open_record

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(", ", ": "))


class MetricsWriter:
    """Appends one line per step to `path`. StorageError when it cannot be opened; for later trouble see `KeptLines`."""

    def __init__(self, path: Path, on_trouble: Callable[[StorageError], None] = lambda error: None) -> None:
        self._file = KeptLines(path, on_trouble)

    def write(self, metrics: Mapping[str, Json]) -> None:
        """Append one step's metrics, which name their `step` (ValueError); NaN and infinity become null."""
        if type(metrics.get("step")) is not int:
            raise ValueError("metrics name their step, a whole number")
        self._file.append(_ENCODER.encode(_finite(metrics)))

    def sync(self) -> None:
        """Make all lines survive a loss of power. StorageError if it cannot be done; then it can be tried again."""
        self._file.sync()

    def close(self) -> None:
        """Close the file; `sync` is another matter."""
        self._file.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sync()
        finally:
            self.close()


def _finite(value: Json) -> Json:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, int | str):  # before the general kinds, which are slow to ask for
        return value
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value]


@dataclass(frozen=True)
class MetricsHistory:
    """The metrics of a job by ascending step, and how many lines could not be read."""

    steps: tuple[dict[str, Any], ...]  # Any: JSON, known only when read
    torn: int


def read_metrics(path: Path) -> MetricsHistory:
    """Return all steps' metrics; nothing when there is no file yet. StorageError when the file cannot be read."""
    steps: dict[int, dict[str, Any]] = {}
    torn = 0
    try:
        with open_record(path) as file:
            for line in file:
                if line.strip():
                    metrics = parse_metrics(line)
                    if metrics is None:
                        torn += 1
                    else:
                        steps[metrics["step"]] = metrics
    except FileNotFoundError:
        return MetricsHistory((), 0)
    except OSError as error:
        raise storage_error("be read", path, error) from error
    return MetricsHistory(tuple(steps[step] for step in sorted(steps)), torn)


def parse_metrics(line: bytes) -> dict[str, Any] | None:  # Any: JSON
    """Return a line's metrics, which name their step; None for a line that was torn, or is something else."""
    try:
        metrics = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return metrics if isinstance(metrics, dict) and type(metrics.get("step")) is int else None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
