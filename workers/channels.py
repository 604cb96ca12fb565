"""The seam between a worker and the way it is called: a link of our own, or calls through Ray.

Whoever waits on a link (see `link`) sleeps, and large vectors are read where they were written. A call through Ray takes
about 2 ms; it is the way where no link can be had: between machines whose ports are closed to each other, or where Ray encrypts.

Ray's compiled graphs were used here before. Their readers spin (ray-project/ray pull request 55128, not merged), and on a machine
with as many workers as CPUs that spinning is taken from the workers and the driver.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import ray
from numpy.typing import NDArray
from ray.actor import ActorHandle

from dbp.sums.messages import Call, CallAnswered, CallRaised, Workload
from dbp.workers.link import Beat, Link
from dbp.workers.shared_memory import Board

Vector = NDArray[np.floating]
Answer = CallAnswered | CallRaised
CallStyle = Literal["link", "ray"]


class Published:
    """A parameter vector on its way to the workers: written once for all workers of this machine, put into Ray's object store once
    if a call through Ray needs it there."""

    def __init__(self, vector: Vector | None, board: Board | None) -> None:
        self._vector, self._board = vector, board

    @cached_property
    def vector(self) -> Vector | None:
        """The vector, on the board where there is one."""
        if self._vector is None or self._board is None:
            return self._vector
        self._board.clear()
        _, memory = self._board.put(self._vector.data.cast("B"))
        return np.frombuffer(memory, self._vector.dtype)

    @cached_property
    def stored(self) -> ray.ObjectRef | None:
        """Its reference in Ray's object store."""
        return None if self._vector is None else ray.put(self._vector)


class Channel(Protocol):
    """A way to call one worker, with one call under way at most."""

    def configure(self, workload: Workload) -> None:
        """Give the worker another workload, before the next call. An error means that the worker died."""
        ...

    def send(self, call: Call, parameters: Published) -> None:
        """Begin a call; return at once. An error means that the worker died."""
        ...

    def receive(self) -> Answer | Beat:
        """Wait for the answer, or a sign of life. An error means that the worker died."""
        ...

    def close(self) -> None:
        """Let go of the worker, which may be dead."""
        ...


class LinkChannel:
    """Calls over a link. The arrays of an answer may lie in shared memory: they are gone with the next call."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def configure(self, workload: Workload) -> None:
        """See `Channel`."""
        self.link.send(workload, own_board=False)

    def send(self, call: Call, parameters: Published) -> None:
        """See `Channel`."""
        self.link.send((call, parameters.vector), own_board=False)

    def receive(self) -> Answer | Beat:
        """See `Channel`."""
        answer: Answer | Beat = self.link.receive()  # type: ignore[assignment]
        return answer

    def close(self) -> None:
        """See `Channel`."""
        self.link.close()


class RayChannel:
    """Calls through Ray; the parameters are read by all workers of a machine from one place in Ray's shared memory."""

    def __init__(self, actor: ActorHandle) -> None:
        self._actor = actor
        self._told: ray.ObjectRef | None = None  # of a new workload, until it has arrived
        self.answer: ray.ObjectRef | None = None  # of the call under way

    def configure(self, workload: Workload) -> None:
        """See `Channel`."""
        self._told = self._actor.configure.remote(workload)

    def send(self, call: Call, parameters: Published) -> None:
        """See `Channel`."""
        if self._told is not None:
            ray.get(self._told)
            self._told = None
        self.answer = self._actor.compute.remote(call, parameters.stored)

    def receive(self) -> Answer:
        """See `Channel`."""
        answer: Answer = ray.get(self.answer)
        self.answer = None
        return answer

    def close(self) -> None:
        """See `Channel`."""
