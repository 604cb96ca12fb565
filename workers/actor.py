"""The Ray actor: a `ShardWorker` in a process of its own."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from dbp.errors import DbpError, JobFailedError
from dbp.sums.messages import Call, CallAnswered, CallRaised, Workload
from dbp.sums.shard_worker import ShardWorker
from dbp.workers.doorbell import Bell
from dbp.workers.packing import pack, unpack

Message = tuple[Call, NDArray[np.floating] | None]
Answer = CallAnswered | CallRaised


class GradientWorker:
    """Loads its shards once, owns its buffers, answers one call at a time."""

    def __init__(self, worker: int, workload: Workload, bell: Bell) -> None:
        self._number = worker
        self._worker = ShardWorker(workload)
        self._bell = bell

    def ready(self) -> int:
        """Return the process id: the first sign of life."""
        return os.getpid()

    def configure(self, workload: Workload) -> None:
        """Take another workload."""
        self._worker.configure(workload)

    def compute_packed(self, message: Message | bytes | None) -> Answer | bytes | None:
        """Answer a message that came through a compiled graph. None is answered with None: a channel is tried out with it."""
        if message is None:
            return None
        call, parameters = unpack(message)
        try:
            answer = self._answer(call, parameters)
            return pack(answer, answer.vectors if isinstance(answer, CallAnswered) else ())
        finally:
            self._bell.ring(self._number, call.number)

    def compute(self, call: Call, parameters: NDArray[np.floating] | None) -> Answer:
        """Answer a plain call, at parameters (P,) that Ray has fetched from its object store."""
        try:
            return self._answer(call, parameters)
        finally:
            self._bell.ring(self._number, call.number)

    def _answer(self, call: Call, parameters: NDArray[np.floating] | None) -> Answer:
        try:
            return CallAnswered(self._number, call.number, self._worker.compute(call, parameters))
        except DbpError as error:
            return CallRaised(self._number, call.number, error)
        except MemoryError as error:
            text = f"worker {self._number} has not enough memory for its {len(call.shards)} shards ({error})"
            return CallRaised(self._number, call.number, JobFailedError(f"{text}; use more machines or fewer workers"))
