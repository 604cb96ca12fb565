"""Ray workers that compute a table's spans; the results come in order, also when workers die, stop or dawdle.

Workers are told what was learnt by opening the table, read their spans themselves and send back what is to be written or added.
Spans are handed out in order, and no worker runs further ahead of the first one that is missing than WINDOW spans for each worker:
that bounds the memory. A worker that dies, or
gives no sign of life, is replaced, and its spans are computed again. One that takes several times as long as its fellows is late:
others compute its spans, too, and the first answer wins, since both are the same.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbp.data.many_files import Learnt
from dbp.errors import DbpError, InputError, WorkersLostError
from dbp.models.spans import Progress, Span, Task
from dbp.storage.uris import is_remote
from dbp.workers.listening import ListeningClock
from dbp.workers.span_queue import SpanQueue
from dbp.workers.span_worker import BEATS, SpanWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ray import ObjectRef
    from ray.actor import ActorHandle

    from dbp.data.table import Table

WINDOW = 3  # spans for each worker: one that it computes, one that waits for it, one that waits to be written
QUEUED = 2  # of them with the worker
START_TIMEOUT_S = 120.0
FROZEN_S = 30.0  # without a sign of life: its process is stopped, or its machine is gone
ANSWER_TIMEOUT_S = 3600.0  # it hangs, though its heart beats
BEAT_S = 2.0  # between two signs of life
LOOK_AROUND_S = 1.0

SEVERAL = 3.0  # times as long as the fellows: late
SLACK_S = 5.0  # and beyond that what a busy machine or a slow disk may take for nothing
FIRST_SLACK_S = 30.0  # the same for its first span, for which it opens the table


@dataclass
class _Worker:
    actor: ActorHandle
    since: float  # of its start, as are all times here: seconds by the listening clock
    pid: int = 0  # 0: not ready yet
    spans: deque[int] = field(default_factory=deque)  # that it has not answered, in the order in which it was asked
    asked: float = 0.0  # when it was left with the first of them
    answered: int = 0
    late: bool = False  # until it has answered; it gets nothing new meanwhile
    heard: float = 0.0  # its last sign of life
    beat: ObjectRef | None = None  # the sign of life that it was asked for


class Crew:
    """Ray actors, one CPU each, on the Ray that this process is connected to."""

    def __init__(
        self, task: Task[Any], table: Table, workers: int, warn: Callable[[str], None], frozen_s: float = FROZEN_S
    ) -> None:
        import ray

        self._ray = ray
        self._warn = warn
        self._count = workers
        self._frozen_s, self._beat_s = frozen_s, min(BEAT_S, frozen_s / 4)
        self._clock = ListeningClock(2 * LOOK_AROUND_S)
        self._took: deque[float] = deque(maxlen=32)  # seconds, of the last spans
        self._task = ray.put(task)
        place = table.path if is_remote(table.path) else os.path.abspath(Path(table.path))
        learnt = table.learnt()
        if isinstance(learnt, Learnt):
            learnt = learnt.for_any_folder()
        self._table = (str(place), table.path, table.row_count, learnt)
        self._workers: dict[int, _Worker] = {}
        self._calls: dict[ObjectRef, tuple[int, int | None]] = {}  # worker, span; None: its start
        self._started = 0
        self._lost_in_a_row = 0
        for _ in range(workers):
            self._start()

    def results(self, work: list[Span], progress: Progress | None = None) -> Iterator[Any]:
        """Yield the results of all spans, in order. Raises the first error in the order of the rows."""
        todo = SpanQueue(work)
        while todo.first < len(work):
            if todo.first in todo.back:
                stop = work[todo.first][1]
                result = todo.next_result()
                if isinstance(result, DbpError):
                    raise result
                yield result
                if progress is not None:
                    progress(stop, work[-1][1])
            else:
                self._hand_out(todo)
                self._wait(todo)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            self._ray.kill(worker.actor)
        self._workers.clear()
        self._calls.clear()

    def pids(self) -> list[int]:
        """Return the process ids of the workers that are ready."""
        return [worker.pid for worker in self._workers.values() if worker.pid]

    def _start(self) -> None:
        # Signs of life come from a thread of their own, while a span is computed.
        options = {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {BEATS: 1}}
        actor = self._ray.remote(**options)(SpanWorker).remote(self._task, *self._table)
        self._started += 1
        self._workers[self._started] = _Worker(actor, self._clock.tick())
        self._calls[actor.ready.remote()] = (self._started, None)

    def _hand_out(self, todo: SpanQueue) -> None:
        """Give spans to workers, to each one before any gets a second, within the window."""
        end = todo.first + WINDOW * self._count
        for queued in range(1, QUEUED + 1):
            for number, worker in self._workers.items():
                if not worker.pid or worker.late or len(worker.spans) >= queued:
                    continue
                span = todo.take(end)
                if span is None:
                    return
                self._calls[worker.actor.compute.remote(*todo.spans[span])] = (number, span)
                if not worker.spans:
                    worker.asked = self._clock.tick()
                worker.spans.append(span)

    def _wait(self, todo: SpanQueue) -> None:
        """Sleep until something has come back, or for a second, take what has, and look after those that are silent or late."""
        refs = list(self._calls)
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=LOOK_AROUND_S)
        if ready:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        now = self._clock.tick()
        for ref in ready:
            if ref in self._calls:
                self._take(ref, *self._calls.pop(ref), todo)
        self._listen(now)
        for number, worker in list(self._workers.items()):
            if worker.pid:
                self._look_after(number, worker, now, todo)
        if not self.pids() and all(now - each.since > START_TIMEOUT_S for each in self._workers.values()):
            free, total = (
                source().get("CPU", 0) for source in (self._ray.available_resources, self._ray.cluster_resources)
            )
            raise WorkersLostError(
                f"no worker started within {START_TIMEOUT_S:.0f} s: each needs one CPU, and the cluster has {free:g} of "
                f"{total:g} free. Wait until others are done, or leave --address out"
            )

    def _listen(self, now: float) -> None:
        """Note who gave a sign of life, and ask for the next one. That somebody died is told by the calls for spans."""
        asked = {worker.beat: worker for worker in self._workers.values() if worker.beat is not None}
        if asked:
            for ref in self._ray.wait(list(asked), num_returns=len(asked), timeout=0)[0]:
                asked[ref].beat, asked[ref].heard = None, now
        for worker in self._workers.values():
            if worker.pid and worker.beat is None and now - worker.heard >= self._beat_s:
                worker.beat = worker.actor.beat.options(concurrency_group=BEATS).remote()

    def _look_after(self, number: int, worker: _Worker, now: float, todo: SpanQueue) -> None:
        waited = now - worker.asked if worker.spans else 0.0
        if now - worker.heard > self._frozen_s:
            self._lose(number, f"no sign of life for {now - worker.heard:.0f} s, as of a stopped process", todo)
        elif waited > ANSWER_TIMEOUT_S:
            self._lose(number, f"it gave no answer for {ANSWER_TIMEOUT_S:.0f} s", todo)
        elif self._took and not worker.late:
            usual = sorted(self._took)[len(self._took) // 2]
            if waited > SEVERAL * usual + (SLACK_S if worker.answered else FIRST_SLACK_S):
                worker.late = True
                todo.again(worker.spans)

    def _take(self, ref: ObjectRef, number: int, span: int | None, todo: SpanQueue) -> None:
        from ray.exceptions import RayError, RayTaskError

        from dbp.workers.causes import cause_of

        try:
            answer = self._ray.get(ref)
        except RayTaskError as error:
            if not isinstance(error.cause, MemoryError):
                raise  # a bug
            self._lose(number, "it got no more memory (MemoryError)", todo)
        except RayError as error:
            self._lose(number, cause_of(error, "its process died").reason, todo)
        else:
            worker = self._workers.get(number)
            if span is not None:
                self._lost_in_a_row = 0
                todo.came(span, answer)
                if worker is not None:
                    self._note(worker, span)
            elif worker is not None:
                worker.pid = self._checked(*answer)
                worker.heard = self._clock.seconds

    def _note(self, worker: _Worker, span: int) -> None:
        """Note how long an answer took, and that whoever gives one is neither silent nor late."""
        now = self._clock.seconds
        self._took.append(now - worker.asked)
        worker.answered += 1
        worker.spans.remove(span)
        worker.asked = worker.heard = now
        worker.late = False

    def _checked(self, pid: int, there: Any) -> int:
        from dbp.workers.nodes import NodeReport, differences, own_versions

        here = NodeReport(str(self._ray.util.get_node_ip_address()), own_versions())
        problems = differences([here, there])
        if problems:
            raise InputError("\n".join(["the cluster computes other bits than this machine:", *map(str, problems)]))
        return pid

    def _lose(self, number: int, reason: str, todo: SpanQueue) -> None:
        worker = self._workers.pop(number, None)
        if worker is None:  # known: another of its calls failed before
            return
        todo.again(worker.spans)
        self._calls = {ref: call for ref, call in self._calls.items() if call[0] != number}
        self._ray.kill(worker.actor)
        self._lost_in_a_row += 1
        who = f"worker {number}" + (f" (pid {worker.pid})" if worker.pid else "")
        if self._lost_in_a_row > 2 * self._count + 1:
            raise WorkersLostError(
                f"{who} was lost: {reason}; {self._lost_in_a_row} workers died one after the other, with no rows done between. "
                "Use fewer workers, or --workers 0 to compute in this process"
            )
        self._warn(f"{who} was lost: {reason}; another one computes its rows again")
        self._start()
