"""Does signals.jsonl say what the job asked for: complete, each step once for an attempt, finite numbers, steps of metrics.jsonl?

The job file is that of the last attempt, and `dbp resume` may have changed `training.signals_every`. So what is complete is asked
from the first step of that attempt on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from dbp.evidence.findings import Check, Finding
from dbp.evidence.history import History

MOST = sys.float_info.max

Facts = Mapping[str, Any]  # Any: JSON


def signals_check(record: History, metrics: History, every: int, safe: int, finished: bool) -> Check:
    """Examine the lines of a `record` that was read before `metrics`, as a running job writes the latter first.

    Up to step `safe` every line has to be there. `finished`: the run ended as it should, so that its last line is whole.
    """
    findings = [
        *_torn(record, metrics, finished),
        *_missing(record, metrics, every, safe),
        *_lines(record, metrics),
    ]
    count = len(record.steps)
    return Check("signals", f"{count} step{'' if count == 1 else 's'} in {record.file}", tuple(findings))


def _torn(record: History, metrics: History, finished: bool) -> Iterator[Finding]:
    """Each attempt that was killed may have torn one line."""
    torn = [line.number for line in record.lines if line.facts is None]
    if len(torn) > max(metrics.attempts, 1) - finished:
        yield Finding(record.file, None, "lines of JSON", f"line {torn[-1]}, which cannot be read")


def _missing(record: History, metrics: History, every: int, safe: int) -> Iterator[Finding]:
    newest = max((line.attempt or 0 for line in metrics.lines if line.facts is not None), default=0)
    steps = (line.step for line in metrics.lines if line.facts is not None and (line.attempt or 0) == newest)
    first = min(steps, default=1)
    for step in range(-(-first // every) * every, safe + 1, every):
        if step not in record.steps:
            yield Finding(record.file, step, f"a line for every step that {every} divides", "no line of it")
            return  # the others often follow from one cause


def _lines(record: History, metrics: History) -> Iterator[Finding]:
    known: dict[int, tuple[int, Facts]] = {}
    times: dict[int, int] = {}
    shape: object = None
    for line in record.lines:
        facts = line.facts
        if facts is None:
            continue
        step, where = line.step, f"line {line.number}"
        found = _shape(facts.get("layers"))
        shape = found if shape is None else shape
        times[step] = times.get(step, 0) + 1
        if step not in metrics.steps:
            yield Finding(record.file, step, f"a step of {metrics.file}", where)
        elif found is None:
            yield Finding(record.file, step, "layers of finite numbers from 0 on", f"others in {where}")
        elif found != shape:
            yield Finding(record.file, step, f"layers of {shape} neurons, as in the first line", f"{found} in {where}")
        elif step in known and known[step][1] != facts:
            yield Finding(record.file, step, f"the numbers of line {known[step][0]}", f"others in {where}")
        elif times[step] == max(metrics.attempts, 1) + 1:
            yield Finding(record.file, step, "one line for each attempt", f"that step once more in {where}")
        known.setdefault(step, (line.number, facts))


def _shape(layers: object) -> tuple[int, ...] | None:
    """Return how many neurons each layer has; None where these are no sizes of a signal."""
    if not isinstance(layers, list) or not layers:
        return None
    for layer in layers:
        if not isinstance(layer, list) or not all(
            type(value) in (int, float) and 0 <= value <= MOST for value in layer
        ):
            return None
    return tuple(map(len, layers))
