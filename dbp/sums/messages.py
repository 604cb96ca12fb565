"""What coordinator, pool and workers say to each other. Plain values, so that any transport can carry them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dbp.data.rows import EncodedRows
from dbp.errors import DbpError
from dbp.network.losses import LossName
from dbp.network.network import Network, Precision
from dbp.sums.batches import Batch, ChosenRows
from dbp.sums.partial_sum import PartialSum, Summand
from dbp.sums.shards import Shards
from dbp.sums.tree import Node, ReductionTree, full_tree

if TYPE_CHECKING:
    from dbp.data.encoding import Encoding
    from dbp.data.statistics import ColumnSummary

Part = Literal["train", "validation"]
Vector = NDArray[np.floating]
Targets = NDArray[np.floating] | NDArray[np.int32]


class RowSource(Protocol):
    """Where rows come from. Picklable; every worker opens it for itself and reads its own rows only."""

    def summarize(self, part: Part, start: int, stop: int) -> ColumnSummary:
        """Return the summary of the columns over rows [start, stop) of a part."""
        ...

    def encode(
        self, part: Part, start: int, stop: int, encoding: Encoding, dtype: np.dtype[np.floating]
    ) -> EncodedRows:
        """Return rows [start, stop) of a part."""
        ...


@dataclass(frozen=True)
class TrainingWork:
    """What a worker needs besides rows to compute gradients."""

    network: Network
    loss: LossName
    precision: Precision
    encoding: Encoding
    huber_delta: float = 1.0  # of the Huber loss
    class_weights: tuple[float, ...] = ()  # per class; (): none
    curvature: bool = False  # whether "curvature" tasks are to come

    @property
    def longest_answer(self) -> int:
        """The length of the longest vector that a worker sends back."""
        parameters = self.network.parameter_count
        return parameters + parameters**2 if self.curvature else parameters


@dataclass(frozen=True)
class Workload:
    """What a worker is told before it is called; without `training` it can summarise columns only."""

    source: RowSource
    shards: Mapping[Part, Shards]
    seed: int
    training: TrainingWork | None = None
    on_disk: bool = False  # whether encoded rows are kept in a file

    def shares_rows_with(self, other: Workload) -> bool:
        """Whether the rows that a worker has loaded for `other` are, bit for bit and shard for shard, those of this one.

        They hang on the source, the cut, the encoding, the precision and the weights; the seed draws batches from them. The network
        and the loss do not count.
        """
        here, there = self.training, other.training
        if here is None or there is None:
            return False
        return (
            self.source,
            self.shards,
            self.seed,
            self.on_disk,
            here.encoding,
            here.precision,
            here.class_weights,
        ) == (
            other.source,
            other.shards,
            other.seed,
            other.on_disk,
            there.encoding,
            there.precision,
            there.class_weights,
        )


TaskKind = Literal[
    "summarize",  # ColumnSummary of the raw columns
    "load",  # read and encode the rows; the sum counts and weighs them
    "gradient",  # PartialSum with the gradient (P,)
    "curvature",  # PartialSum with the gradient and, behind it, the Gauss-Newton matrix: (P + P * P,)
    "loss",  # PartialSum without a gradient, with the rows classified right
]


@dataclass(frozen=True)
class SumTask:
    """One sum over the shards of a part: of all rows, or of a batch."""

    kind: TaskKind
    part: Part
    step: int = 0
    batch: Batch | ChosenRows | None = None

    def tree(self, shards: Shards) -> ReductionTree:
        """Return the tree along which this sum is added."""
        if self.batch is None:
            return full_tree(shards.count)
        return ReductionTree((piece.shard for piece in self.batch.slices), shards.count)


@dataclass(frozen=True)
class Call:
    """What one worker is asked: its shards of a task. Numbered, so that a late answer is known for what it is."""

    number: int
    task: SumTask
    shards: tuple[int, ...]
    apart: tuple[int, ...] = ()  # of these shards: those whose sums are wanted one by one (see `auditing`)
    extra: tuple[int, ...] = ()  # other shards, one by one


Partials = tuple[tuple[Node, Summand], ...]


@dataclass(frozen=True)
class WorkerReady:
    """Event: a worker has started and can be called."""

    worker: int


@dataclass(frozen=True)
class WorkerLost:
    """Event: a worker died, or is given up for dead."""

    worker: int
    reason: str
    replaceable: bool = True  # False: there is no room for another one
    advice: str = ""  # what could be changed so that no more are lost like it


@dataclass(frozen=True)
class WorkerLeft:
    """Event: a worker was ended because its room is wanted elsewhere; nothing is wrong with it."""

    worker: int


@dataclass(frozen=True)
class CallAnswered:
    """Event: a worker returned the sums of the subtrees that its shards fill. They are borrowed until the next call."""

    worker: int
    number: int
    partials: Partials

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """The gradients (P,) in it."""
        return tuple(part.gradient for _, part in self.partials if isinstance(part, PartialSum))


@dataclass(frozen=True)
class CallRaised:
    """Event: the call raised an error; trying it again would raise it again."""

    worker: int
    number: int
    error: DbpError


Event = WorkerReady | WorkerLost | WorkerLeft | CallAnswered | CallRaised
