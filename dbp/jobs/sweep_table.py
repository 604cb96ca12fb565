"""The table of a job that stands for several runs, sweep.json: one entry per member, replaced as a whole whenever one changes.

It says which members are done: a resumed job asks it, and nothing else, what is left to do.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dbp.errors import JobDirectoryError
from dbp.jobs.status import State
from dbp.storage.atomic_files import storage_error, write_json
from dbp.storage.records import read_record

_MOST_BYTES = 64_000_000  # kilobytes for each run there can be


@dataclass(frozen=True)
class MemberResult:
    """How far a member came. Numbers are None before it ended, and where they are not finite."""

    number: int  # from 1
    changes: dict[str, Any]  # dotted keys to values; Any: as the job file has them
    seed: int  # of its start weights
    directory: str  # relative to the job directory of all
    label: str = ""  # what is special about it, in words
    state: State = "PENDING"
    message: str = ""  # why it ended, in a sentence
    steps: int = 0
    model_step: int | None = None
    loss: float | None = None  # the objective over all training rows
    rms: float | None = None
    validation: dict[str, float | None] | None = None
    seconds: float = 0.0  # over all attempts
    parameters_sha256: str | None = None

    @property
    def score(self) -> float:
        """What members are compared by, the lowest best: the validation loss, or the objective where there are no validation rows.

        Infinite for a member without a model.
        """
        seen = self.loss if self.validation is None else self.validation.get("loss")
        if self.parameters_sha256 is None or seen is None or not math.isfinite(seen):
            return math.inf
        return seen

    @property
    def done(self) -> bool:
        """Whether it ended by itself: training it again would end in the same way."""
        return self.state in ("SUCCEEDED", "FAILED")


@dataclass(frozen=True)
class _Table:
    best: int | None
    members: list[MemberResult] = field(default_factory=list)


def ranked(results: Sequence[MemberResult]) -> list[MemberResult]:
    """Return the results, the best first; of equals the one with the lower number. Those without a score come last."""
    return sorted(results, key=lambda result: (result.score, result.number))


def best_of(results: Sequence[MemberResult]) -> MemberResult | None:
    """Return the best result; None while there is none with a score."""
    first = next(iter(ranked(results)), None)
    return None if first is None or math.isinf(first.score) else first


def write_table(path: Path, results: Sequence[MemberResult]) -> None:
    """Replace the table. StorageError if it fails."""
    best = best_of(results)
    table = _Table(None if best is None else best.number, list(results))
    write_json(path, _finite(dataclasses.asdict(table)))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value


@cache
def _adapter() -> TypeAdapter[_Table]:
    return TypeAdapter(_Table)


def read_table(path: Path) -> list[MemberResult]:
    """Return what the table says; [] when there is none yet. JobDirectoryError when the file is no such table."""
    try:
        return _adapter().validate_python(json.loads(read_record(path, _MOST_BYTES))).members
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error("be read", path, error) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(key) for key in first["loc"])
        raise JobDirectoryError(f"{path}: not a table of runs, or damaged: {place or 'JSON'}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise JobDirectoryError(f"{path}: not a table of runs, or damaged: {error}") from None
