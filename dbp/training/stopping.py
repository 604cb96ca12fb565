"""When training ends. A rule returns a sentence, its reason, or None to go on.

Rules are pure functions of the step and of what training remembers (`memory.py`); so they say the same after a resume, and a run
that a rule ended ends at once when it is resumed unchanged. Loss and gradient are known at a step's start: a rule about them ends
training *after* the step that began where the condition held. Comparisons are put so that NaN never meets a limit.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

from dbp.training.memory import Memory
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
    reason: str  # a sentence
    rule: str  # its name for programs: a key of `stopping`, or max_steps, optimizer, request


class StoppingRule(Protocol):
    """Looked at after every step (and before the first)."""

    def ending(self, step: int, memory: Memory) -> Ending | None:
        """Return why to stop after `step` steps, or None."""
        ...


@dataclass(frozen=True)
class MaxSteps:
    """Stop after a number of steps."""

    limit: int

    def ending(self, step: int, memory: Memory) -> Ending | None:
        """See `StoppingRule`."""
        if step < self.limit:
            return None
        return Ending("SUCCEEDED", f"training.max_steps ({self.limit}) reached", "max_steps")


@dataclass(frozen=True)
class Finished:
    """Stop when the optimiser says that it can do no more."""

    def ending(self, step: int, memory: Memory) -> Ending | None:
        """See `StoppingRule`."""
        return None if memory.finished is None else Ending("SUCCEEDED", memory.finished, "optimizer")


@dataclass(frozen=True)
class TargetLoss:
    """Stop when the objective is low enough."""

    target: float

    def ending(self, step: int, memory: Memory) -> Ending | None:
        """See `StoppingRule`."""
        if memory.after is not None and memory.after.loss <= self.target:
            reason = f"the objective is {memory.after.loss:.6g} after step {step}"
        elif memory.losses and memory.losses[-1] <= self.target:
            reason = f"the objective was {memory.losses[-1]:.6g} at the start of step {step}"
        else:
            return None
        return Ending("SUCCEEDED", f"stopping.target_loss ({self.target:g}) reached: {reason}", "target_loss")


@dataclass(frozen=True)
class GradientTolerance:
    """Stop where the objective is nearly flat: the Euclidean norm of its gradient is small."""

    tolerance: float

    def ending(self, step: int, memory: Memory) -> Ending | None:
        """See `StoppingRule`."""
        if memory.after is not None and memory.after.gradient_norm <= self.tolerance:
            reason = f"the gradient's norm is {memory.after.gradient_norm:.6g} after step {step}"
        elif memory.gradient_norm <= self.tolerance:
            reason = f"the gradient's norm was {memory.gradient_norm:.6g} at the start of step {step}"
        else:
            return None
        return Ending(
            "SUCCEEDED", f"stopping.gradient_tolerance ({self.tolerance:g}) reached: {reason}", "gradient_tolerance"
        )


@dataclass(frozen=True)
class LossChange:
    """Stop when the objective hardly changes: over `steps` steps its highest and lowest value differ by a small share.

    Highest and lowest, not first and last: an objective that swings comes back to where it was by chance.
    """

    share: float  # of the largest magnitude among them
    steps: int

    def ending(self, step: int, memory: Memory) -> Ending | None:
        """See `StoppingRule`."""
        losses = memory.losses[-self.steps - 1 :]
        if len(losses) <= self.steps or not max(losses) - min(losses) <= self.share * max(map(abs, losses)):
            return None
        reason = (
            f"the objective stayed between {min(losses):.6g} and {max(losses):.6g} for {_count(self.steps, 'step')}"
        )
        return Ending("SUCCEEDED", f"stopping.loss_change ({self.share:g}) reached: {reason}", "loss_change")


@dataclass(frozen=True)
class Patience:
    """Stop when the validation loss has not improved for a number of validations."""

    validations: int

    def ending(self, step: int, memory: Memory) -> Ending | None:
        """See `StoppingRule`."""
        if memory.waited < self.validations:
            return None
        reason = f"{_count(memory.waited, 'validation')} without improvement on a validation loss of {memory.mark:.6g}"
        return Ending("SUCCEEDED", f"stopping.patience ({self.validations}) ran out: {reason}", "patience")


@dataclass(frozen=True)
class MaxSeconds:
    """Stop when the time is used up. The one rule that depends on the machine, and so does the result."""

    limit: float

    def ending(self, step: int, memory: Memory) -> Ending | None:
        """See `StoppingRule`."""
        if memory.seconds < self.limit:
            return None
        reason = f"{memory.seconds:.1f} s of training made {_count(step, 'step')}; another machine would have made another number"
        return Ending("SUCCEEDED", f"stopping.max_seconds ({self.limit:g}) used up: {reason}", "max_seconds")


@dataclass(frozen=True)
class Requested:
    """Stop because someone asked."""

    request: StopRequest

    def ending(self, step: int, memory: Memory) -> Ending | None:
        """See `StoppingRule`."""
        return Ending("STOPPED", f"stopped on request after step {step}", "request") if self.request.is_set() else None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
