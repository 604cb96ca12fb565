"""What a worker does, whatever process it lives in: keeps its shards, in memory or in a file, and sums over them.

It belongs to the library so that the pool in this process (the reference) and the Ray actors run the very same lines.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dbp.data.rows import EncodedRows
from dbp.data.weights import row_weights
from dbp.network.backprop import Kernel
from dbp.network.tree_sums import Leaf, Leaves
from dbp.sums.batches import Batch, ChosenRows, shard_permutation
from dbp.sums.messages import Call, Part, Partials, SumTask, Targets, TrainingWork, Vector, Workload
from dbp.sums.partial_sum import PartialSum, Summand
from dbp.sums.row_file import RowFile
from dbp.sums.tree import Node

NO_GRADIENT = np.empty(0, dtype=np.float32)

SumOfShard = Callable[[int], Summand]


@dataclass
class _LoadedShard:
    inputs: NDArray[Any]  # (rows, features); of the training's precision, or narrower and not yet encoded
    targets: Targets  # (rows, outputs), or class indices (rows,)
    weights: Vector | None = None  # (rows,)
    epoch: int = -1
    order: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # the epoch's permutation


class _Buffers:
    """Gradient arrays (P,) that go round: a fresh array for every shard would cost its page faults every time."""

    def __init__(self, size: int, dtype: np.dtype[np.floating]) -> None:
        self._size, self._dtype = size, dtype
        self._free: list[Vector] = []
        self._lent: list[Vector] = []

    def take(self) -> Vector:
        return self._free.pop() if self._free else np.empty(self._size, self._dtype)

    def give_back(self, partial: Summand) -> None:
        if isinstance(partial, PartialSum) and partial.gradient.size == self._size:
            self._free.append(partial.gradient)

    def free(self, gradients: Iterable[Vector]) -> None:
        self._free += gradients

    def lend(self, partials: Partials) -> None:
        """Note the arrays of an answer; they come back when the next call begins."""
        self._lent = [part.gradient for _, part in partials if isinstance(part, PartialSum) and part.gradient.size]

    def collect(self) -> None:
        self._free += self._lent
        self._lent = []


@dataclass(frozen=True)
class _Prepared:
    """What gradients over all rows of some subtrees are asked with, again and again: found out once."""

    part: Part
    shards: tuple[int, ...]
    leaves: Leaves
    counted: tuple[tuple[Node, PartialSum], ...]  # of each subtree: the rows, and their weight


class GradientTask:
    """The gradients that a call asks for, over all rows of its shards, as a task that needs no Python (see `tree_sums`)."""

    def __init__(self, prepared: _Prepared, kernel: Kernel, parameters: Vector, buffers: _Buffers) -> None:
        self._counted, self._buffers = prepared.counted, buffers
        self._gradients = [buffers.take() for _ in range(prepared.leaves.room)]
        self.task = kernel.trees_task(parameters, prepared.leaves, self._gradients)

    def answer(self) -> Partials:
        """Return the sums, once the task is done; their arrays are lent until the worker's next call."""
        partials = tuple(
            (node, PartialSum(sums.loss, gradient, counted.weight, sums.squared_error, counted.rows))
            for (node, counted), sums, gradient in zip(self._counted, self.task.sums(), self._gradients, strict=False)
        )
        self._buffers.free(self._gradients[len(partials) :])
        self._buffers.lend(partials)
        return partials


def _weight(rows: EncodedRows | _LoadedShard) -> float:
    """The divisor of a mean over these rows."""
    return float(len(rows.inputs)) if rows.weights is None else float(rows.weights.sum(dtype=np.float64))


class StoppedError(Exception):
    """Nobody waits for the answer any more."""


class ShardWorker:
    """Answers calls, one at a time. Shards are loaded when first asked for and kept.

    Where `stopped` is set, by another thread, a call ends after the shard under way, with a StoppedError.
    """

    def __init__(self, workload: Workload, stopped: threading.Event | None = None) -> None:
        self._workload, self._stopped = workload, stopped
        self._loaded: dict[tuple[Part, int], _LoadedShard] = {}
        self._visiting: set[tuple[Part, int]] = set()  # shards of other workers, for their audit
        self._file: RowFile | None = None
        self._scratch: Vector = np.empty((0, 0))  # (rows of a shard, features)
        self._prepared: _Prepared | None = None
        self.configure(workload)

    def configure(self, workload: Workload) -> None:
        """Take a workload in place of the last one; rows encoded for the last one are kept where they are the same."""
        if not workload.shares_rows_with(self._workload):
            self._loaded, self._visiting, self._scratch = {}, set(), np.empty((0, 0))
            self._file = RowFile(workload.shards) if workload.on_disk else None
        self._workload, self._prepared = workload, None
        self._training = workload.training
        if self._training is not None:
            dtype = np.dtype(self._training.precision)
            network = self._training.network
            self._kernel = Kernel(network, self._training.loss, dtype, huber_delta=self._training.huber_delta)
            self._buffers = {
                "gradient": _Buffers(network.parameter_count, dtype),
                "curvature": _Buffers(self._training.longest_answer, dtype),
            }

    def compute(self, call: Call, parameters: Vector | None) -> Partials:
        """Return the sums of the largest subtrees that the call's shards fill.

        `parameters` (P,) are read, never kept. The arrays of the answer are reused by the next call.
        """
        task = call.task
        if task.kind == "summarize":
            return self._sums(call, lambda shard: self._summary(task.part, shard))
        if self._training is None or (parameters is None and task.kind != "load"):
            raise RuntimeError(f"a {task.kind} call before the worker was told what to train")
        for buffers in self._buffers.values():
            buffers.collect()
        if task.kind == "load":
            return self._sums(call, lambda shard: self._row_count(task.part, shard))
        if (whole := self.gradient_task(call, parameters)) is not None:
            whole.task.carry_out()
            return whole.answer()
        self._kernel.move_to(np.asarray(parameters))
        if task.kind in self._buffers:
            partials = self._sums(call, lambda shard: self._gradient(task, shard))
            self._buffers[task.kind].lend(partials)
            return partials
        return self._sums(call, lambda shard: self._loss(task.part, shard))

    def _sums(self, call: Call, leaf: SumOfShard) -> Partials:
        tree = call.task.tree(self._workload.shards[call.task.part])
        leaf = leaf if self._stopped is None else self._stoppable(leaf, self._stopped)
        buffers = self._buffers.get(call.task.kind) if self._training is not None else None
        spent = buffers.give_back if buffers is not None else lambda partial: None
        self._forget_visitors(call)
        nodes = tree.filled_by(set(call.shards).difference(call.apart))
        nodes += [Node(shard, shard + 1) for shard in (*call.apart, *call.extra)]
        return tuple((node, tree.sum(node, leaf, spent)) for node in nodes)

    def _stoppable(self, leaf: SumOfShard, stopped: threading.Event) -> SumOfShard:
        def summed(shard: int) -> Summand:
            if stopped.is_set():
                raise StoppedError
            return leaf(shard)

        return summed

    def gradient_task(self, call: Call, parameters: Vector | None) -> GradientTask | None:
        """Return a call as a task; None for any but gradients over all rows of shards, as they are. DataError."""
        task = call.task
        if task.kind != "gradient" or task.batch is not None or call.apart or call.extra or parameters is None:
            return None
        if self._training is None or self._training.precision != parameters.dtype:
            return None
        prepared = self._prepared
        if prepared is None or (prepared.part, prepared.shards) != (task.part, call.shards):
            prepared = self._prepared = self._prepare(call)
        if prepared is None:
            return None
        buffers = self._buffers["gradient"]
        buffers.collect()
        return GradientTask(prepared, self._kernel, parameters, buffers)

    def _prepare(self, call: Call) -> _Prepared | None:
        """Load the rows of a call; return how their gradients are asked for. None where rows have to be encoded each time."""
        part, leaves, counted = call.task.part, [], []
        tree = call.task.tree(self._workload.shards[part])
        precision = np.dtype(self._required_training().precision)
        for node in tree.filled_by(call.shards):
            for shard, additions in tree.additions(node):
                rows = self._shard(part, shard)
                if rows.inputs.dtype != precision:
                    return None
                leaves.append(Leaf(rows.inputs, rows.targets, rows.weights, additions))
            counted.append((node, tree.sum(node, lambda shard: self._row_count(part, shard))))
        return _Prepared(part, call.shards, Leaves(leaves), tuple(counted))

    def _forget_visitors(self, call: Call) -> None:
        """Keep the rows of another worker's shards only while they are asked for again: there may be no room for more."""
        part = call.task.part
        self._visiting.difference_update((part, shard) for shard in call.shards)
        if call.extra:
            now = {(part, shard) for shard in call.extra}
            for gone in self._visiting - now:
                self._loaded.pop(gone, None)
            self._visiting = {visitor for visitor in now if visitor in self._visiting or visitor not in self._loaded}

    def _summary(self, part: Part, shard: int) -> Summand:
        start, stop = self._workload.shards[part].bounds(shard)
        return self._workload.source.summarize(part, start, stop)

    def _row_count(self, part: Part, shard: int) -> PartialSum:
        loaded = self._shard(part, shard)
        return PartialSum(0.0, NO_GRADIENT, weight=_weight(loaded), rows=len(loaded.inputs))

    def _gradient(self, task: SumTask, shard: int) -> Summand:
        rows = self._rows(task, shard)
        answer = self._buffers[task.kind].take()
        parameters = self._kernel.network.parameter_count
        inputs = self._encoded(rows.inputs)
        sums = self._kernel.gradient_sum(inputs, rows.targets, answer[:parameters], rows.weights)
        if task.kind == "curvature":
            self._kernel.gauss_newton_sum(inputs, answer[parameters:].reshape(parameters, parameters), rows.weights)
        return PartialSum(sums.loss, answer, _weight(rows), sums.squared_error, len(rows.inputs))

    def _loss(self, part: Part, shard: int) -> Summand:
        loaded = self._shard(part, shard)
        sums, correct = self._kernel.loss_sum(self._encoded(loaded.inputs), loaded.targets, loaded.weights)
        return PartialSum(sums.loss, NO_GRADIENT, _weight(loaded), sums.squared_error, len(loaded.inputs), correct)

    def _encoded(self, inputs: NDArray[Any]) -> Vector:
        """Return inputs as the kernel takes them; those that are kept narrow go to memory that the next ones go to, too."""
        training = self._required_training()
        if inputs.dtype == training.precision:
            return inputs
        if training.encoding is None:
            raise RuntimeError("narrow inputs without an encoding")
        if len(self._scratch) < len(inputs) or self._scratch.dtype != training.precision:
            self._scratch = np.empty(inputs.shape, training.precision)
        out = self._scratch[: len(inputs)]
        training.encoding.expand(inputs, out)
        return out

    def _rows(self, task: SumTask, shard: int) -> EncodedRows | _LoadedShard:
        loaded = self._shard(task.part, shard)
        if task.batch is None:
            return loaded
        rows = self._batch_rows(task.batch, shard, loaded)
        weights = None if loaded.weights is None else loaded.weights[rows]
        return EncodedRows(loaded.inputs[rows], loaded.targets[rows], weights)

    def _batch_rows(self, batch: Batch | ChosenRows, shard: int, loaded: _LoadedShard) -> NDArray[np.int64]:
        if isinstance(batch, ChosenRows):
            return next(piece.rows for piece in batch.slices if piece.shard == shard)
        if loaded.epoch != batch.epoch:
            size = len(loaded.inputs)
            loaded.order = shard_permutation(self._workload.seed, batch.epoch, shard, size)
            loaded.epoch = batch.epoch
        piece = next(piece for piece in batch.slices if piece.shard == shard)
        return loaded.order[piece.start : piece.stop]

    def _shard(self, part: Part, shard: int) -> _LoadedShard:
        loaded = self._loaded.get((part, shard))
        if loaded is None:
            training = self._required_training()
            start, stop = self._workload.shards[part].bounds(shard)
            dtype = np.dtype(training.precision)
            inputs, targets, column = self._workload.source.encode(part, start, stop, training.encoding, dtype)
            rows = EncodedRows(inputs, targets, row_weights(column, training.class_weights, targets, dtype))
            loaded = _LoadedShard(*(rows if self._file is None else self._file.keep(part, shard, rows)))
            self._loaded[part, shard] = loaded
        return loaded

    def _required_training(self) -> TrainingWork:
        if self._training is None:
            raise RuntimeError("rows were asked for before the worker was told what to train")
        return self._training
