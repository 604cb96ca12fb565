"""The seam between a worker and the way it is called: Ray's compiled graphs, or plain actor calls.

A compiled graph keeps a shared-memory channel open to one actor and back: about 0.25 ms there and back against 2 ms for a
plain call. Each worker has a graph of its own, so that a death stays private: in a graph over several actors one death
loses everybody's results. Ray calls the interface of compiled graphs experimental; should it fail, plain calls do the
same, slower.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Protocol, cast

import numpy as np
import ray
from numpy.typing import NDArray
from ray.actor import ActorHandle
from ray.dag import InputNode
from ray.experimental.compiled_dag_ref import CompiledDAGRef

from dbp.sums.messages import Call, CallAnswered, CallRaised
from dbp.workers.packing import pack, unpack

Vector = NDArray[np.floating]
Answer = CallAnswered | CallRaised
CallStyle = Literal["compiled", "plain"]

FIRST_ANSWER_TIMEOUT_S = 60.0
MESSAGE_BYTES = 64 << 10  # room for what travels beside the parameters or the gradient


class Published:
    """A parameter vector on its way to the workers; put into the object store once, if a plain call needs it there."""

    def __init__(self, vector: Vector | None) -> None:
        self.vector = vector

    @cached_property
    def stored(self) -> ray.ObjectRef | None:
        """Its reference in Ray's object store."""
        return None if self.vector is None else ray.put(self.vector)


class Channel(Protocol):
    """A way to call one worker, with one call under way at most."""

    def send(self, call: Call, parameters: Published) -> None:
        """Begin a call; return at once."""
        ...

    def receive(self, timeout_s: float) -> Answer:
        """Wait for the answer. Raises Ray's error if the worker died; GetTimeoutError when it takes too long."""
        ...

    def settled(self) -> bool:
        """Whether `receive` would return or raise at once; may be False although an answer is there."""
        ...

    def close(self) -> None:
        """Let go of the worker, which may be dead."""
        ...


class CompiledChannel:
    """One compiled graph for one worker."""

    def __init__(self, actor: ActorHandle, vector_bytes: int) -> None:
        with InputNode() as message:
            graph = actor.compute_packed.bind(message)
        # One call under way at most, so one buffer each way; large enough, so that it is never made anew.
        self._graph = graph.experimental_compile(
            _buffer_size_bytes=vector_bytes + MESSAGE_BYTES, _max_inflight_executions=1, _submit_timeout=60
        )
        # A worker that dies before the driver has read from its channel once aborts the driver: Ray 2.60 then fails a check
        # while it registers the reader. So the channel is tried out before any work goes through it. That takes over a
        # second, so the answer is waited for only when it is needed: several channels open at once.
        self._trial: CompiledDAGRef | None = self._graph.execute(None)

    def send(self, call: Call, parameters: Published) -> None:
        """See `Channel`."""
        self._wait_for_trial()
        self._answer = self._graph.execute(pack((call, parameters.vector), (parameters.vector,)))

    def _wait_for_trial(self) -> None:
        if self._trial is None:
            return
        # The graph's helper process on the driver's side takes a second to start. Reading the channel meanwhile would spin and
        # take the CPU it needs, so it is waited for first, where this version of Ray lets one.
        helper = getattr(self._graph, "_proxy_actor", None)
        if helper is not None:
            ray.get(helper.__ray_ready__.remote(), timeout=FIRST_ANSWER_TIMEOUT_S)
        ray.get(self._trial, timeout=FIRST_ANSWER_TIMEOUT_S)
        self._trial = None

    def receive(self, timeout_s: float) -> Answer:
        """See `Channel`. The arrays of the answer lie in the channel's shared memory: they are gone with the next call."""
        packed: bytes | Answer = ray.get(self._answer, timeout=timeout_s)
        return cast(Answer, unpack(packed))

    def settled(self) -> bool:
        """See `Channel`. True when the graph's loop in the worker has ended, that is, when the worker died."""
        return bool(ray.wait(list(self._graph.worker_task_refs.values()), timeout=0)[0])

    def close(self) -> None:
        """See `Channel`."""
        self._graph.teardown()


class PlainChannel:
    """Plain actor calls; the parameters are read by all workers of a node from one place in shared memory."""

    def __init__(self, actor: ActorHandle) -> None:
        self._actor = actor

    def send(self, call: Call, parameters: Published) -> None:
        """See `Channel`."""
        self._answer = self._actor.compute.remote(call, parameters.stored)

    def receive(self, timeout_s: float) -> Answer:
        """See `Channel`."""
        answer: Answer = ray.get(self._answer, timeout=timeout_s)
        return answer

    def settled(self) -> bool:
        """See `Channel`."""
        return bool(ray.wait([self._answer], timeout=0)[0])

    def close(self) -> None:
        """See `Channel`."""
