"""Ray tasks that look through large tables (`text_scan`, `split_column`), one CPU each; one that is lost is done again."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from dbp.data.text_scan import Answer, LookTask
from dbp.errors import DataError, DbpError, InputError, WorkersLostError
from dbp.workers.causes import cause_of
from dbp.workers.nodes import NodeReport, differences, own_versions

START_TIMEOUT_S = 120.0
_TRIES = 5  # of a task whose process dies
_AHEAD = 4  # tasks for each worker


class RayLookers:
    """See `Lookers.results`; on the Ray that this process is connected to. `options` say where tasks run (see `placement`)."""

    def __init__(self, workers: int, options: Mapping[str, object] | None = None) -> None:
        self._ahead, self._found_room = _AHEAD * workers, False
        self._options = {"num_cpus": 1, "max_retries": _TRIES - 1, "scheduling_strategy": "SPREAD", **(options or {})}

    def results(self, tasks: Sequence[LookTask[Answer]]) -> Generator[Answer]:
        """See `Lookers`. WorkersLostError where there is no room for a task, or those who do one die again and again."""
        if not self._found_room:
            self._find_room()
        look = ray.remote(_look).options(**self._options)
        asked: deque[ray.ObjectRef] = deque()
        try:
            for task in tasks:
                asked.append(look.remote(task))
                if len(asked) == self._ahead:
                    yield _answer(asked.popleft())
            while asked:
                yield _answer(asked.popleft())
        finally:
            for answer in asked:
                ray.cancel(answer)

    def _find_room(self) -> None:
        """Have a task done that does nothing, to see that there is room, and that other machines compute as this one does."""
        probe = ray.remote(_report).options(**self._options).remote()
        if not ray.wait([probe], timeout=START_TIMEOUT_S)[0]:
            ray.cancel(probe)
            free, total = (source().get("CPU", 0) for source in (ray.available_resources, ray.cluster_resources))
            raise WorkersLostError(
                f"nobody began to read the table within {START_TIMEOUT_S:.0f} s: that needs one CPU, and the cluster has "
                f"{free:g} of {total:g} free. Use fewer workers, or wait until others are done"
            )
        problems = differences([_report(), _got(probe)])
        if problems:
            raise InputError("\n".join(["the cluster computes other bits than this machine:", *map(str, problems)]))
        self._found_room = True


def _answer(asked: ray.ObjectRef) -> Any:
    answer = _got(asked)
    if isinstance(answer, DbpError):
        raise answer
    return answer


def _got(asked: ray.ObjectRef) -> Any:  # Any: what the task returns
    try:
        return ray.get(asked)
    except RayTaskError:
        raise  # a bug
    except RayError as error:
        reason = cause_of(error, "its process died").reason
        raise WorkersLostError(f"who read the table was lost {_TRIES} times: {reason}") from error


def _report() -> NodeReport:
    return NodeReport(str(ray.util.get_node_ip_address()), own_versions())


def _look(task: LookTask[Answer]) -> Answer | DbpError:
    """Do a task; return also what went wrong: Ray would wrap an error."""
    import pyarrow as pa

    pa.set_cpu_count(1)  # as many threads as CPUs were asked for
    try:
        return task()
    except DbpError as error:
        return error
    except OSError as error:
        return DataError(
            f"{task.path}: cannot be read ({error.strerror}) (on node {ray.util.get_node_ip_address()}; all workers must "
            "see the table)"
        )
