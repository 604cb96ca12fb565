"""Audits: some shards are computed by two workers, and the bits compared. A worker that computes wrongly is lost, by name.

`AuditingTransport` stands between a pool and its transport. In an audited step each worker is asked for the sums of its chosen
shards apart from the rest, and for those of another worker's chosen shards as well, in the same call. An answer is held back until
its audited shards were compared. Where two differ, this process computes the shard, and the worker whose bits are others is
removed: the pool hears that it was lost, starts another, and has all its shards computed again. So nothing of a wrong answer gets
into a sum.

Where there is no other worker to compare with (it is the only one, it was lost, or it is late), this process takes its part.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dbp.errors import JobFailedError
from dbp.sums.audit import Audit, bits_of
from dbp.sums.messages import Call, CallAnswered, CallRaised, Event, SumTask, WorkerLeft, WorkerLost, Workload
from dbp.sums.pool import Transport
from dbp.sums.shard_worker import ShardWorker
from dbp.sums.tree import Node

Vector = NDArray[np.floating]

SHORTEST_WAIT_S = 0.05  # for another worker's word on a shard


class RemovingTransport(Transport, Protocol):
    """A transport that can be told that a worker is not to be trusted."""

    def remove(self, worker: int, reason: str) -> None:
        """End a worker at once; WorkerLost follows. Nothing happens for one that is lost already."""
        ...


@dataclass
class _Case:
    """A shard under audit. `claims` are the bits that workers say it has; `bits` what they are, once that is known."""

    shard: int
    owner: int  # who computes it for the sum
    auditor: int | None  # who computes it for comparison; None: this process
    claims: dict[int, bytes] = field(default_factory=dict)  # by worker
    bits: bytes | None = None


@dataclass
class _Held:
    """A call whose answer is held until all its cases are settled."""

    call: Call
    cases: list[_Case]
    sent: float  # seconds
    answer: CallAnswered | None = None
    until: float = 0.0  # when it has waited long enough for others, from the answer on


class AuditingTransport:
    """See the module (a `Transport`)."""

    def __init__(self, inner: RemovingTransport, audit: Audit) -> None:
        self._inner, self._audit = inner, audit
        self._workload: Workload | None = None
        self._parameters: Vector | None = None
        self._batch: dict[int, Call] = {}  # calls that are not sent yet, by worker
        self._held: dict[int, _Held] = {}  # by worker
        self._calls: set[int] = set()  # all that are or were held in this sum
        self._settled: deque[Event] = deque()
        self._referee: tuple[Workload, ShardWorker] | None = None  # of this process

    def now(self) -> float:
        """See `Transport`."""
        return self._inner.now()

    def start(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        self._workload = workload
        self._inner.start(worker, workload)

    def configure(self, worker: int, workload: Workload) -> None:
        """See `Transport`."""
        self._workload = workload
        self._inner.configure(worker, workload)

    def publish(self, parameters: Vector | None) -> None:
        """See `Transport`. What is still held is of a sum that is done without it, and added to none."""
        self._settled.extend(held.answer for held in self._held.values() if held.answer is not None)
        self._held.clear()
        self._calls.clear()
        self._batch.clear()
        self._parameters = parameters
        self._inner.publish(parameters)

    def send(self, worker: int, call: Call) -> None:
        """See `Transport`. Calls that may be audited wait until all that belong together are known."""
        if self._audit.covers(call.task):
            self._batch[worker] = call
        else:
            self._inner.send(worker, call)

    def next_event(self, patience: float | None) -> Event | None:
        """See `Transport`."""
        self._send_batch()
        until = None if patience is None else self.now() + patience
        while not self._settled:
            self._judge()
            if self._settled:
                break
            waits = [held.until for held in self._held.values() if held.answer is not None]
            wake = min([*waits, *([] if until is None else [until])], default=None)
            event = self._inner.next_event(None if wake is None else max(wake - self.now(), 0.0))
            if event is not None:
                self._take(event)
            elif until is not None and self.now() >= until:
                return None
        return self._settled.popleft()

    def close(self) -> None:
        """See `Transport`."""
        self._referee = None
        self._inner.close()

    # ---- sending

    def _send_batch(self) -> None:
        """Send what waits; each worker of a batch audits the one before it."""
        batch, self._batch = list(self._batch.items()), {}
        audited = {worker: self._audited(call) for worker, call in batch}
        for place, (worker, call) in enumerate(batch):
            before = batch[place - 1][0]
            extra = audited[before] if before != worker else ()
            if not audited[worker] and not extra:
                self._inner.send(worker, call)
                continue
            after = batch[(place + 1) % len(batch)][0]
            own = [_Case(shard, worker, after if after != worker else None) for shard in audited[worker]]
            self._held[worker] = _Held(
                Call(call.number, call.task, call.shards, audited[worker], extra), own, self.now()
            )
        for place, (worker, _) in enumerate(batch):
            before = batch[place - 1][0]
            if before != worker and audited[before]:
                self._held[worker].cases += [case for case in self._held[before].cases if case.owner == before]
        self._calls.update(held.call.number for held in self._held.values())
        for worker, _ in batch:
            if worker in self._held:
                self._inner.send(worker, self._held[worker].call)

    def _audited(self, call: Call) -> tuple[int, ...]:
        assert self._workload is not None
        chosen = self._audit.chosen(call.task, self._workload.shards[call.task.part].count)
        return tuple(shard for shard in call.shards if shard in chosen)

    # ---- hearing

    def _take(self, event: Event) -> None:
        held = self._held.get(event.worker)
        match event:
            case CallAnswered(worker, number, partials) if held is not None and held.call.number == number:
                sums = dict(partials)
                for case in held.cases:
                    case.claims[worker] = bits_of(sums[Node(case.shard, case.shard + 1)])
                foreign = {Node(shard, shard + 1) for shard in held.call.extra}
                own = tuple((node, partial) for node, partial in partials if node not in foreign)
                held.answer = CallAnswered(worker, number, own)
                held.until = self.now() + max(self.now() - held.sent, SHORTEST_WAIT_S)
            case CallAnswered(_, number) if number in self._calls:
                pass  # it was judged and passed on already, or its worker is lost and nobody judges it
            case WorkerLost(worker) | WorkerLeft(worker) | CallRaised(worker):
                self._forget(worker)
                self._settled.append(event)
            case _:
                self._settled.append(event)

    def _forget(self, worker: int) -> None:
        """A worker gives no word on its cases any more: others' are this process's to judge, its own need no judgement."""
        self._held.pop(worker, None)
        for held in self._held.values():
            for case in held.cases:
                if case.auditor == worker:
                    case.auditor = None
            held.cases = [case for case in held.cases if case.owner != worker or worker in case.claims]

    # ---- judging

    def _judge(self) -> None:
        """Pass on the answers whose cases are settled, and remove workers that were wrong."""
        for worker, held in list(self._held.items()):
            if held.answer is None:
                continue
            self._settle(held)
            if any(case.bits is None for case in held.cases):
                continue
            wrong = [case for case in held.cases if case.claims[worker] != case.bits]
            del self._held[worker]
            if wrong:
                self._forget(worker)
                self._inner.remove(worker, _accusation(wrong[0], held.call.task))
            else:
                self._settled.append(held.answer)

    def _settle(self, held: _Held) -> None:
        """Find out what is right, where two agree or where nobody else is to be waited for."""
        open_cases = [case for case in held.cases if case.bits is None]
        mine = []
        for case in open_cases:
            words = set(case.claims.values())
            if len(case.claims) == 2 and len(words) == 1:
                case.bits = words.pop()
            elif len(case.claims) == 2 or case.auditor is None or self.now() >= held.until:
                mine.append(case)
        if mine:
            self._decide(mine, held.call.task)

    def _decide(self, cases: list[_Case], task: SumTask) -> None:
        """Compute shards in this process. JobFailedError where that decides nothing: no two results are the same."""
        first = self._compute(cases, task)
        doubted = [case for case in cases if first[case.shard] not in case.claims.values()]
        again = self._compute(cases, task) if doubted else first
        for case in cases:
            case.bits = first[case.shard]
            if case in doubted and (len(set(case.claims.values())) > 1 or again[case.shard] != case.bits):
                workers = " and ".join(map(str, sorted(case.claims)))
                raise JobFailedError(
                    f"audit: shard {case.shard} of the {task.part} rows has, in step {task.step}, other bits each time that it is "
                    f"computed (worker {workers}; this process), so no result can be trusted; look for failing memory or "
                    "processors. The last checkpoint is kept"
                )

    def _compute(self, cases: list[_Case], task: SumTask) -> dict[int, bytes]:
        """Return the bits of the cases' shards, by shard, as this process computes them."""
        assert self._workload is not None
        if self._referee is None or self._referee[0] is not self._workload:
            self._referee = (self._workload, ShardWorker(self._workload))
        shards = tuple(sorted(case.shard for case in cases))
        partials = self._referee[1].compute(Call(-1, task, (), extra=shards), self._parameters)
        return {node.first: bits_of(partial) for node, partial in partials}


def _accusation(case: _Case, task: SumTask) -> str:
    return (
        f"audit: it computed shard {case.shard} of the {task.part} rows wrongly in step {task.step}; computed twice elsewhere, "
        "the shard has other bits. Its processor or memory may be failing"
    )


def audited(transport: RemovingTransport, audit: Audit | None) -> Transport:
    """Return the transport with an audit; itself where there is none."""
    return transport if audit is None or audit.share == 0 else AuditingTransport(transport, audit)
