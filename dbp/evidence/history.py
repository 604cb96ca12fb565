"""The history that metrics.jsonl tells, line by line: which attempt made which step, and whether any is missing or there twice.

A run that was killed goes on from a checkpoint: its next attempt makes some steps again. So a step may stand there once for each
attempt, with the same numbers each time. Within an attempt each step follows the one before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dbp.evidence.findings import Finding
from dbp.jobs.metrics import parse_metrics
from dbp.storage.atomic_files import storage_error
from dbp.storage.records import open_record

_SAME_EACH_TIME = ("digest", "loss", "rms", "gradient_norm", "rows")
_DIGEST = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Line:
    """A line of the file; `facts` is None where it cannot be read."""

    number: int  # from 1
    facts: Mapping[str, Any] | None  # Any: JSON

    @property
    def step(self) -> int:
        """The step that it tells of; only where it can be read."""
        assert self.facts is not None
        return int(self.facts["step"])

    @property
    def attempt(self) -> int | None:
        """The attempt that wrote it; None for lines of dbp before attempts were written."""
        assert self.facts is not None
        attempt = self.facts.get("attempt")
        return attempt if type(attempt) is int else None


@dataclass(frozen=True)
class History:
    """What the lines tell. ``steps`` has the last line of each step."""

    lines: tuple[Line, ...]
    file: str = "metrics.jsonl"

    @cached_property
    def steps(self) -> dict[int, Mapping[str, Any]]:
        """The metrics of each step, by step."""
        return {line.step: line.facts for line in self.lines if line.facts is not None}

    @property
    def last(self) -> int:
        """The highest step; 0 for none."""
        return max(self.steps, default=0)

    @property
    def attempts(self) -> int:
        """How many attempts wrote it, as far as the lines say."""
        return len({line.attempt for line in self.lines if line.facts is not None})

    def digest(self, step: int) -> str | None:
        """Return the digest of the parameters after a step, where there is one."""
        found = self.steps.get(step, {}).get("digest")
        return found if isinstance(found, str) else None

    def findings(self, finished: bool) -> Iterator[Finding]:
        """Yield what is wrong. `finished`: the run ended as it should, so that no line can be half-written at the end."""
        yield from self._torn(finished)
        yield from self._order()
        yield from self._repeated()
        for step, facts in self.steps.items():
            told = facts.get("digest")
            if told is not None and not (isinstance(told, str) and _DIGEST.fullmatch(told)):
                yield Finding(self.file, step, "a digest of 16 hex digits", repr(told)[:60])

    def _torn(self, finished: bool) -> Iterator[Finding]:
        """A line may be torn by a kill: then it is the last one, or the next one is another attempt's."""
        for place, line in enumerate(self.lines):
            if line.facts is not None:
                continue
            before = next((each for each in reversed(self.lines[:place]) if each.facts is not None), None)
            after = next((each for each in self.lines[place + 1 :] if each.facts is not None), None)
            if after is None:
                torn_by_a_kill = not finished and place == len(self.lines) - 1
            else:
                alike = before is not None and before.attempt == after.attempt and after.attempt is not None
                torn_by_a_kill = not alike
            if not torn_by_a_kill:
                step = None if before is None else before.step + 1
                yield Finding(self.file, step, "a line of JSON", f"line {line.number}, which cannot be read")

    def _order(self) -> Iterator[Finding]:
        before: Line | None = None
        highest = 0
        for line in self._readable():
            goes_on = before is not None and line.attempt == before.attempt and line.attempt is not None
            last = before.step if before is not None and goes_on else highest
            if line.step > last + 1:
                yield self._missing(last + 1, line)
            elif line.step < 1:
                yield Finding(self.file, line.step, "a step from 1 on", f"line {line.number}")
            elif goes_on and line.step <= last:
                yield Finding(self.file, line.step, f"step {last + 1}", f"that step once more in line {line.number}")
            elif before is not None and (line.attempt or 0) < (before.attempt or 0):
                found = f"attempt {line.attempt} in line {line.number}"
                yield Finding(self.file, line.step, f"attempt {before.attempt} or a later one", found)
            before, highest = line, max(highest, line.step)

    def _missing(self, first: int, line: Line) -> Finding:
        gap = f"step {first}" if line.step == first + 1 else f"steps {first} to {line.step - 1}"
        return Finding(self.file, first, gap, f"step {line.step} in line {line.number}: {gap} missing")

    def _repeated(self) -> Iterator[Finding]:
        """A step that was made again, after a kill, has the same bits."""
        known: dict[int, Line] = {}
        for line in self._readable():
            earlier = known.get(line.step)
            known[line.step] = line
            if earlier is None or earlier.facts is None or line.facts is None:
                continue
            for key in _SAME_EACH_TIME:
                first, again = earlier.facts.get(key), line.facts.get(key)
                if first is not None and again is not None and first != again:
                    words = f"{key} {first}, as in line {earlier.number}"
                    yield Finding(self.file, line.step, words, f"{key} {again} in line {line.number}")
                    break

    def _readable(self) -> Iterable[Line]:
        return (line for line in self.lines if line.facts is not None)


def read_history(path: Path) -> History:
    """Return the lines of a metrics file; none where there is no file yet. StorageError when it cannot be read.

    A last line without its line break counts where its JSON is whole: a kill may have come between.
    """
    lines = []
    try:
        with open_record(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    lines.append(Line(number, parse_metrics(line)))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise storage_error("be read", path, error) from error
    return History(tuple(lines), path.name)
