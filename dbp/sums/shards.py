"""Cutting rows into shards: arithmetic on whole numbers.

The number of shards and their cuts depend on the rows and the size of the network alone, never on the workers (D2): the
order in which floating-point numbers are added belongs to the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

MOST_SHARDS = 256
FEW_SHARDS = 8
ROWS_PER_SHARD_SMALL = 128

# What a shard costs beyond its rows, as a share of its rows' cost: the bound of docs/benchmarks.md, in per cent.
MOST_OVERHEAD = 3

# A model of the kernel's time in picoseconds, for P parameters and U units, fitted to measurements of four networks of 705 to
# 1,863,690 parameters (within a third). It is rough, and it may be: it decides how many shards there are, on every machine alike.
ROW_PER_PARAMETER, ROW_PER_UNIT = 24, 1_000
SHARD, SHARD_PER_PARAMETER = 20_000_000, 600  # Python's calls; adding two gradients, 3 P numbers through memory


@dataclass(frozen=True)
class Shards:
    """`rows` rows cut into `count` contiguous, nearly equal shards (1 <= count <= rows)."""

    rows: int
    count: int

    def bounds(self, shard: int) -> tuple[int, int]:
        """Return the rows [start, stop) of `shard`."""
        return self.rows * shard // self.count, self.rows * (shard + 1) // self.count

    def size(self, shard: int) -> int:
        """Return the number of rows of `shard`."""
        start, stop = self.bounds(shard)
        return stop - start


def cut_into_shards(rows: int, sizes: Sequence[int]) -> Shards:
    """Return the shards of `rows` >= 1 rows for a network of about these sizes.

    `sizes` are the layers known before the data has been looked at: inputs and hidden layers, and the outputs where they
    are given. The number of shards is a power of two, so that 2, 4, 8, ... workers get equal shares and whole subtrees: up to
    MOST_SHARDS as long as what sharding costs stays below MOST_OVERHEAD per cent of the work; but up to FEW_SHARDS in any
    case where each keeps ROWS_PER_SHARD_SMALL rows, so that a small table has work for a few workers.
    """
    if rows < 1:
        raise ValueError(f"{rows} rows; expected at least 1")
    few = min(FEW_SHARDS, _power_of_two_within(rows // ROWS_PER_SHARD_SMALL))
    many = min(MOST_SHARDS, _power_of_two_within(rows // _rows_worth_a_shard(sizes)))
    return Shards(rows, max(few, many))


def _rows_worth_a_shard(sizes: Sequence[int]) -> int:
    layers = sizes if len(sizes) > 1 else (*sizes, 1)
    parameters = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(layers))
    row = ROW_PER_PARAMETER * parameters + ROW_PER_UNIT * sum(layers[1:])
    shard = SHARD + SHARD_PER_PARAMETER * parameters
    return -(-100 * shard // (MOST_OVERHEAD * row))


def _power_of_two_within(limit: int) -> int:
    """Return the largest power of two <= limit, or 1."""
    return 1 << max(limit.bit_length() - 1, 0)
