"""Cutting rows into shards: arithmetic on whole numbers.

The number of shards and their cuts depend on the rows and the size of the network alone, never on the workers (D2): the
order in which floating-point numbers are added belongs to the data.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_SHARDS = 256
FEW_SHARDS = 8

# Adding two partial sums moves 3 P numbers through memory; computing a shard of n rows costs about 6 n P operations. From
# about 500 rows on the addition is below 3 % of the work for any P; small tables accept a little more, to have some shards.
ROWS_PER_SHARD = 512
ROWS_PER_SHARD_SMALL = 128


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


def cut_into_shards(rows: int) -> Shards:
    """Return the shards of `rows` >= 1 rows.

    Their number is a power of two, so that 2, 4, 8, ... workers get equal shares and whole subtrees: up to FEW_SHARDS as long as
    each keeps ROWS_PER_SHARD_SMALL rows, then up to MOST_SHARDS as long as each keeps ROWS_PER_SHARD.
    """
    if rows < 1:
        raise ValueError(f"{rows} rows; expected at least 1")
    few = min(FEW_SHARDS, _power_of_two_within(rows // ROWS_PER_SHARD_SMALL))
    many = min(MOST_SHARDS, _power_of_two_within(rows // ROWS_PER_SHARD))
    return Shards(rows, max(few, many))


def _power_of_two_within(limit: int) -> int:
    """Return the largest power of two <= limit, or 1."""
    return 1 << max(limit.bit_length() - 1, 0)
