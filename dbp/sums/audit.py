"""Which shards are computed twice to be compared, and what is compared of them. Pure.

The choice is a pure function of the job's seed, the step and the shard. It stays for a turn of some steps: whoever checks
another's shard has to read its rows first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

from dbp.seeds import generator
from dbp.sums.messages import SumTask, TaskKind
from dbp.sums.partial_sum import PartialSum, Summand
from dbp.vectors import digest

TURN_STEPS = 10
_KINDS: frozenset[TaskKind] = frozenset(["gradient", "curvature"])


@dataclass(frozen=True)
class Audit:
    """What share of the shards is audited."""

    share: float  # 0 to 1
    seed: int  # the job's

    def covers(self, task: SumTask) -> bool:
        """Whether shards of a task can be chosen: what makes a step is audited, not what looks at rows or measures losses."""
        return self.share > 0 and task.kind in _KINDS

    def chosen(self, task: SumTask, count: int) -> frozenset[int]:
        """Return the shards to audit, of `count` that the task's part has."""
        if not self.covers(task):
            return frozenset()
        return _chosen(self.seed, self.share, task.step // TURN_STEPS, count)


@lru_cache(maxsize=8)
def _chosen(seed: int, share: float, turn: int, count: int) -> frozenset[int]:
    numbers = generator(seed, "audit", turn).random(count)
    return frozenset(shard for shard in range(count) if numbers[shard] < share)


def bits_of(partial: Summand) -> bytes:
    """Return some bytes that are the same for partial sums of the same bits."""
    assert isinstance(partial, PartialSum)
    numbers = struct.pack("<dddqq", partial.loss, partial.weight, partial.squared_error, partial.rows, partial.correct)
    return numbers + digest(partial.gradient).encode()
