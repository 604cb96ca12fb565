"""The Ray actor: a `ShardWorker` in a process of its own."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
from numpy.typing import NDArray

from dbp.errors import DbpError, JobFailedError
from dbp.sums.memory import WHAT_TO_CHANGE
from dbp.sums.messages import Call, CallAnswered, CallRaised, Workload
from dbp.sums.shard_worker import ShardWorker
from dbp.workers.gate import Address
from dbp.workers.link import Link, LinkClosedError
from dbp.workers.nodes import Fitness

Vector = NDArray[np.floating]
Answer = CallAnswered | CallRaised
Message = tuple[Call, Vector | None] | Workload  # what comes over a link

BEAT_S = 2.0


class GradientWorker:
    """Loads its shards once, owns its buffers, answers one call at a time."""

    def __init__(self, worker: int, workload: Workload, fitness: Fitness | None = None) -> None:
        self._number, self._fitness = worker, fitness
        self._worker = ShardWorker(workload)

    def serve(self, driver: Address) -> None:
        """Answer what comes over a link to the driver, until the driver closes it.

        ConnectionError when there is no way there, NodeUnfitError when no worker of this job can run on this node.
        """
        if self._fitness is not None:
            self._fitness.check()
        link = driver.connect(self._number)
        threading.Thread(target=_beat, args=(link,), name="dbp-beat", daemon=True).start()
        try:
            while True:
                message: Message = link.receive()  # type: ignore[assignment]
                if isinstance(message, Workload):
                    self._worker.configure(message)
                else:
                    link.send(self.compute(*message), own_board=True)
        except LinkClosedError:
            link.close()

    def ready(self) -> int:
        """Return the process id: the first sign of life of a worker that is called through Ray."""
        return os.getpid()

    def configure(self, workload: Workload) -> None:
        """Take another workload."""
        self._worker.configure(workload)

    def compute(self, call: Call, parameters: Vector | None) -> Answer:
        """Answer a call, at parameters (P,)."""
        try:
            return CallAnswered(self._number, call.number, self._worker.compute(call, parameters))
        except DbpError as error:
            return CallRaised(self._number, call.number, error)
        except MemoryError as error:
            text = f"worker {self._number} has not enough memory for its {len(call.shards)} shards ({error or 'MemoryError'})"
            return CallRaised(self._number, call.number, JobFailedError(f"{text}; change one of: {WHAT_TO_CHANGE}"))


def _beat(link: Link) -> None:
    """Tell the driver that this process runs, also while it computes; end with the link."""
    try:
        while True:
            link.beat()
            time.sleep(BEAT_S)
    except LinkClosedError:
        return
