"""What all parts of a simulated world share: virtual time, the seed's dice, the faults there are, what happened so far."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from dbp.training.stopping import StopRequest
from simulation.plan import Plan


class Violation(Exception):  # noqa: N818 - it is what the simulation looks for, no error of its own
    """The job did something that it must never do."""


class CoordinatorKilled(BaseException):
    """kill -9 of the coordinator: it runs no code of its own any more, so nothing of the job's may catch this."""


Action = Callable[[], None]


@dataclass
class Clock:
    """Virtual seconds, and what is due. Nothing sleeps: time jumps to the next thing that is due."""

    now: float = 0.0
    _due: list[tuple[float, int, Action]] = field(default_factory=list)
    _count: int = 0

    def after(self, delay: float, action: Action) -> None:
        """Have `action` called `delay` seconds from now."""
        self._count += 1
        heapq.heappush(self._due, (self.now + delay, self._count, action))

    def advance(self) -> bool:
        """Let the next thing happen; False where nothing is due."""
        if not self._due:
            return False
        due, _, action = heapq.heappop(self._due)
        self.now = max(self.now, due)  # what came while the coordinator slept is late
        action()
        return True

    def advance_until(self, time: float) -> bool:
        """Let the next thing happen, if it is due by then; else let time pass until then and return False."""
        if self._due and self._due[0][0] <= time:
            return self.advance()
        self.now = max(self.now, time)
        return False

    def sleep(self, seconds: float) -> None:
        """Let time pass in which the coordinator listens to nobody."""
        self.now += seconds

    def clear(self) -> None:
        """Nothing is due any more."""
        self._due.clear()


@dataclass
class World:
    """One schedule's world. Every fault asks `strikes` whether it happens; so each is counted, and told in the timeline."""

    plan: Plan
    keep_lines: bool = False
    clock: Clock = field(default_factory=Clock)
    probes: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)
    killed: bool = False
    struck: int = 0
    stop: StopRequest = field(default_factory=StopRequest)  # what somebody outside asks for
    events: int = 0
    saving: bool = False  # a checkpoint is under way, and nothing of it was written yet

    def __post_init__(self) -> None:
        self.dice = random.Random(f"dbp schedule {self.plan.seed}")
        self._digest = hashlib.sha256()
        self._rates = dict(self.plan.rates)

    def strikes(self, kind: str, probe: str | None = None) -> bool:
        """Throw the dice for a fault of a kind; `probe` is the situation that is counted, where it has a name of its own.

        Once the budget is used up none strikes any more: from then on the job has to come to an end.
        """
        rate = self._rates.get(kind)
        if rate is None or self.dice.random() >= rate:
            return False
        self.struck += 1
        if self.struck >= self.plan.budget:
            self._rates = {}
        self.probe(probe or kind)
        return True

    def calm(self) -> None:
        """No fault strikes any more."""
        self._rates = {}

    def probe(self, name: str) -> None:
        """Count a situation."""
        self.probes[name] += 1

    def maybe_kill(self, where: str) -> None:
        """A point at which the coordinator may be killed. A killed one does nothing any more, cleaning up included."""
        if self.killed:
            raise CoordinatorKilled
        if "coordinator" in self._rates and self.strikes("coordinator", f"coordinator killed: {where}"):
            self.killed = True
            self.tell("KILL", f"coordinator, {where}")
            if self.saving:
                self.probe("coordinator killed: while a checkpoint is under way")
            raise CoordinatorKilled

    def tell(self, who: str, what: str) -> None:
        """Write a line of the timeline."""
        line = f"{self.clock.now:12.3f} s  {who:<12} {what}"
        self._digest.update(line.encode())
        if self.keep_lines:
            self.lines.append(line)

    @property
    def trace_sha256(self) -> str:
        """The timeline's digest: equal for equal schedules."""
        return self._digest.hexdigest()
