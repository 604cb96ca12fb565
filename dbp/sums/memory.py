"""How much memory a worker needs: arithmetic on whole numbers, so that a job can be judged before it is started.

    most  = PROCESS + rows + reading + vectors          bytes, per worker
    rows  = rows of its shards * (inputs + targets + weights, in their itemsize, + 8 bytes for the order of a batch's rows)

`most` is not exceeded (a test holds it against real workers, see docs/faults.md); `least` is what is certainly needed. A job is
refused only where it must be, by `least`; by `most` there is a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dbp.network.compiled_network import block_rows
from dbp.sums.messages import Part
from dbp.sums.shards import Shards

MEBIBYTE = 1 << 20
# Measured: a worker before its first call has 125 MiB resident, 65 of them files that all processes share; pyarrow takes 55 more.
PROCESS, PROCESS_ALONE = 190 * MEBIBYTE, 60 * MEBIBYTE
# Arrow's allocator gives back less than it was given: measured 1.2 to 1.3 times what was in use at once.
ALLOCATOR_PER_CENT = 130
# A shard's cells while it is encoded: Arrow's columns, the rows taken out of them, float64, scaled, rounded; 8 bytes each.
COPIES = 6
WHAT_TO_CHANGE = (
    "data.cache: disk, data.compact where columns are narrow, precision float32, fewer columns (data.features), fewer workers on "
    "a machine, or more machines"
)


@dataclass(frozen=True)
class RowShape:
    """One encoded row."""

    inputs: int
    targets: int  # numbers; a class index counts as one
    itemsize: int
    weighted: bool = False
    input_bytes: int | None = None  # of an input as it is kept, where that is not `itemsize`
    shuffled: bool = False  # whether batches are drawn, for which a worker keeps the order of its rows

    @property
    def bytes(self) -> int:
        """What a row takes in memory or on disk."""
        each = self.itemsize if self.input_bytes is None else self.input_bytes
        return self.inputs * each + (self.targets + self.weighted) * self.itemsize

    @property
    def order_bytes(self) -> int:
        """What is kept in memory of it in any case."""
        return 8 * self.shuffled


@dataclass(frozen=True)
class WorkerMemory:
    """Bytes that one worker needs, by what for."""

    rows: int  # 0 where they are kept on disk, but for their order
    reading: int
    vectors: int

    @property
    def most(self) -> int:
        """A bound."""
        return PROCESS + self.rows + self.reading + self.vectors

    def with_threads(self, threads: int) -> WorkerMemory:
        """Return what the process needs where so many threads share its rows."""
        return WorkerMemory(self.rows, threads * self.reading, threads * self.vectors)

    @property
    def least(self) -> int:
        """What is needed in any case."""
        return PROCESS_ALONE + self.rows


def worker_memory(
    shards: Mapping[Part, Shards],
    workers: int,
    row: RowShape,
    sizes: Sequence[int],
    *,
    reading_bytes: int,
    on_disk: bool = False,
    curvature: bool = False,
) -> WorkerMemory:
    """Return what each of `workers` needs (0: the one in this process), for a network of `sizes`.

    `reading_bytes` is what reading one shard of the tables takes besides the shard's own cells. A worker that stands in for another
    needs more: that one's rows, too.
    """
    workers = max(workers, 1)
    shares = [-(-each.count // workers) * -(-each.rows // each.count) for each in shards.values()]
    mine = sum(min(share, each.rows) for share, each in zip(shares, shards.values(), strict=True))
    longest = max(-(-each.rows // each.count) for each in shards.values())
    cells = longest * (row.inputs + row.targets + row.weighted) * 8
    batch = longest * row.bytes if row.shuffled else 0  # the rows of a batch are copied out of the shard
    batch += longest * row.inputs * row.itemsize if row.input_bytes is not None else 0  # a shard is encoded at a time
    return WorkerMemory(
        rows=mine * ((0 if on_disk else row.bytes) + row.order_bytes),
        reading=(reading_bytes * ALLOCATOR_PER_CENT) // 100 + COPIES * cells + batch,
        vectors=row.itemsize * _vector_numbers(max(each.count for each in shards.values()), workers, sizes, curvature),
    )


def _vector_numbers(shards: int, workers: int, sizes: Sequence[int], curvature: bool) -> int:
    """Numbers in parameter vectors, gradients and the kernel's buffers."""
    parameters = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))
    answer = parameters + parameters**2 if curvature else parameters
    levels = (-(-shards // workers)).bit_length() + 1  # one sum per level of the tree is alive at a time
    whole = workers & (workers - 1) == 0 and shards % workers == 0
    roots = 1 if whole else 2 * shards.bit_length()  # subtrees whose sums are lent until the next call
    # The kernel has the weights twice, packed; parameters arrive and answers leave through memory that is counted, too.
    buffers = 3 * block_rows(parameters) * (sum(sizes) + max(sizes))
    return answer * (levels + roots + roots) + 4 * parameters + buffers
