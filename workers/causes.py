"""Why a worker was lost, as far as anybody can tell: for want of memory, or by itself.

The kernel counts the processes that its out-of-memory killer ends, on this machine; Ray says which ones its memory monitor ended,
on any. A process that gets no memory from its own system says so itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import ray
from ray.exceptions import RayError

from dbp.sums.memory import WHAT_TO_CHANGE
from dbp.workers.machine_memory import killed_for_want_of_memory

LAST_WORDS_S = 0.5  # Ray tells of a death within 0.2 s where it is on this machine
ADVICE = f"Change one of: {WHAT_TO_CHANGE}"


@dataclass(frozen=True)
class Cause:
    """A reason, and what could be changed so that it does not happen again."""

    reason: str
    advice: str = ""


@dataclass
class Causes:
    """Remembers how many processes had been killed before."""

    _killed: int = field(default_factory=killed_for_want_of_memory)

    def of_death(self, alive: ray.ObjectRef) -> Cause:
        """Return why a process ended whose first call was `alive`; Ray is given a moment to say so."""
        killed = killed_for_want_of_memory()
        if killed > self._killed:
            self._killed += 1  # one for each death
            return Cause(
                "killed, probably for want of memory: the out-of-memory killer ended a process of this machine", ADVICE
            )
        if ray.wait([alive], timeout=LAST_WORDS_S)[0]:
            try:
                ray.get(alive)
            except RayError as error:
                return cause_of(error, "its process died")
        return Cause("its process died")


def cause_of(error: RayError, otherwise: str) -> Cause:
    """Return the cause that Ray's error tells of, or `otherwise`."""
    text = str(error)
    if "low on memory" in text or "OutOfMemoryError" in text:
        return Cause("killed for want of memory: Ray's memory monitor found its node nearly full", ADVICE)
    if "MemoryError" in text:
        return Cause("it got no more memory (MemoryError)", ADVICE)
    return Cause(otherwise)
