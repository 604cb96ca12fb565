"""Timing side by side: what is compared runs in turn, round after round, so that the machine's moods meet all of it alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dbp.training.objective import Objective


def interleaved(work: Mapping[str, Callable[[], object]], rounds: int, least_seconds: float = 0.05) -> dict[str, float]:
    """Return the median seconds of one call of each, over `rounds` rounds.

    In each round each is called often enough to take `least_seconds`.
    """
    calls: dict[str, int] = {}
    for name, call in work.items():
        call()  # warm
        began = time.perf_counter()
        call()
        calls[name] = max(1, round(least_seconds / max(time.perf_counter() - began, 1e-9)))
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, call in work.items():
            began = time.perf_counter()
            for _ in range(calls[name]):
                call()
            seconds[name].append((time.perf_counter() - began) / calls[name])
    return {name: statistics.median(values) for name, values in seconds.items()}


def median_seconds(call: Callable[[], object], repeats: int, warm: int = 3) -> float:
    """Return the median seconds of one call, after some that do not count."""
    seconds = []
    for number in range(repeats + warm):
        began = time.perf_counter()
        call()
        if number >= warm:
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


@contextmanager
def looking_on() -> Iterator[list[tuple[float, float]]]:
    """Note each evaluation of the objective in this process: (when it was done, its value)."""
    seen: list[tuple[float, float]] = []
    plain = Objective.evaluate

    def noting(self: Objective, *arguments: Any) -> Any:
        evaluated = plain(self, *arguments)
        seen.append((time.perf_counter(), evaluated.evaluation.value))
        return evaluated

    Objective.evaluate = noting  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Objective.evaluate = plain  # type: ignore[method-assign]
