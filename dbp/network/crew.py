"""A crew: threads of the compiled kernel's own, which carry out tasks beside the thread that asks (native/crew.c).

They know nothing of Python and never wait for its lock. Between tasks they look for the next one for a millisecond, then sleep.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Sequence

from dbp.errors import JobFailedError
from dbp.network import compiled
from dbp.network.tree_sums import TreesTask


class Crew:
    """So many threads, the one that asks among them. JobFailedError where the system gives no more threads."""

    def __init__(self, threads: int) -> None:
        calls = compiled.crew_functions()
        self.threads = threads
        self._run = calls.run
        crew = calls.begin(threads - 1)
        if not crew:
            raise JobFailedError(
                f"the system gives no {threads} threads; expected fewer (`workers`), or a higher limit"
            )
        self._crew = crew
        self.close = weakref.finalize(self, _end, calls.end, crew, os.getpid())  # closing twice does nothing
        # A process that ends takes its threads along; one of them may be in the middle of a task then.
        self.close.atexit = False

    def run(self, tasks: Sequence[TreesTask]) -> None:
        """Carry out the tasks, at most one for each thread, at the same time; return when all are done."""
        if len(tasks) > self.threads:
            raise ValueError(f"{len(tasks)} tasks for {self.threads} threads")
        if not self.close.alive:
            raise RuntimeError("tasks for a crew that was closed")
        structures = (compiled.Task * len(tasks))(*(task.structure for task in tasks))
        self._run(self._crew, len(tasks), ctypes.byref(structures))


def _end(end: Callable[[int], None], crew: int, process: int) -> None:
    """End the threads, which a forked process has not."""
    if os.getpid() == process:
        end(crew)
