"""When training ends. A rule returns a sentence, its reason, or None to go on."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

from dbp.training.observers import FinalState


class StopRequest:
    """A request from outside to stop after the step under way. Safe to set from a signal handler or another thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask for the stop."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether it was asked for."""
        return self._event.is_set()


@dataclass(frozen=True)
class Ending:
    """Why training ends, and in which state."""

    state: FinalState
    reason: str


class StoppingRule(Protocol):
    """Looked at after every step (and before the first)."""

    def ending(self, step: int) -> Ending | None:
        """Return why to stop after `step` steps, or None."""
        ...


@dataclass(frozen=True)
class MaxSteps:
    """Stop after a number of steps."""

    limit: int

    def ending(self, step: int) -> Ending | None:
        """See `StoppingRule`."""
        if step < self.limit:
            return None
        return Ending("SUCCEEDED", f"training.max_steps ({self.limit}) reached")


@dataclass(frozen=True)
class Requested:
    """Stop because someone asked."""

    request: StopRequest

    def ending(self, step: int) -> Ending | None:
        """See `StoppingRule`."""
        return Ending("STOPPED", f"stopped on request after step {step}") if self.request.is_set() else None
