"""What training remembers of its past, for the rules that end it: a part of `Progress`, so it is in every checkpoint.

Rules hold their settings only. What they look at is here, as named arrays on disk: a run that was killed and resumed sees the same
past and stops at the same step. Losses are those at a step's *start*, where its gradient was taken. Of validations
only the scheduled ones (every `training.validate_every` steps) are remembered: one made because a run was stopped would have a
resumed run remember more than an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.floating]
Arrays = Mapping[str, NDArray[Any]]  # Any: numbers, counts and text


@dataclass(frozen=True)
class Best:
    """The parameters with the lowest validation loss so far."""

    step: int
    loss: float  # mean per validation row
    parameters: Vector  # (P,)


@dataclass(frozen=True)
class Remember:
    """How much to remember."""

    losses: int = 11  # of the last steps
    min_improvement: float = 0.0  # by how much the validation loss must fall to count
    best: bool = False  # whether to keep the best parameters


class Point(NamedTuple):
    """What the objective is like somewhere."""

    loss: float  # the objective
    gradient_norm: float


@dataclass(frozen=True)
class Measured:
    """What a step measured at its start, and what the optimiser said of it."""

    loss: float  # the objective
    gradient_norm: float  # Euclidean, of the objective's gradient
    finished: str | None = None  # the optimiser's own reason to stop
    after: Point | None = None  # where it ended, if the optimiser knows that


@dataclass(frozen=True)
class Memory:
    """What has been seen so far. Empty before the first step."""

    seconds: float = 0.0  # of training, over all attempts that led here
    losses: tuple[float, ...] = ()  # objectives at the starts of the last steps, the newest last
    gradient_norm: float = math.inf  # at the start of the last step
    finished: str | None = None  # the optimiser's reason to stop, after the last step
    mark: float = math.inf  # the validation loss that the next one has to improve on
    waited: int = 0  # validations since the one that set the mark
    best: Best | None = None
    after: Point | None = None  # the last step's end: a method with a line search has been there, others have not

    def after_step(self, measured: Measured | None, seconds: float, remember: Remember) -> Memory:
        """Return the memory after one more step; `seconds` is the training time so far. None: the step measured nothing."""
        if measured is None:
            return replace(self, seconds=seconds, best=self.best if remember.best else None)
        losses = (*self.losses, measured.loss)[-remember.losses :]
        return replace(
            self,
            seconds=seconds,
            losses=losses,
            gradient_norm=measured.gradient_norm,
            after=measured.after,
            finished=measured.finished,
            best=self.best if remember.best else None,
        )

    def after_validation(self, step: int, loss: float, parameters: Vector, remember: Remember) -> Memory:
        """Return the memory after a scheduled validation. A loss that is NaN improves on nothing."""
        improved = loss < self.mark - remember.min_improvement
        best = self.best
        if remember.best and math.isfinite(loss) and (best is None or loss < best.loss):
            best = Best(step, loss, parameters)
        return replace(self, mark=loss if improved else self.mark, waited=0 if improved else self.waited + 1, best=best)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return it as named arrays, for a checkpoint."""
        arrays: dict[str, NDArray[Any]] = {
            "losses": np.array(self.losses, dtype=np.float64),
            "numbers": np.array([self.seconds, self.gradient_norm, self.mark], dtype=np.float64),
            "waited": np.array([self.waited], dtype=np.int64),
        }
        if self.after is not None:
            arrays["after"] = np.array(self.after, dtype=np.float64)
        if self.finished is not None:
            arrays["finished"] = np.frombuffer(self.finished.encode(), dtype=np.uint8)
        if self.best is not None:
            arrays["best_parameters"] = self.best.parameters
            arrays["best_loss"] = np.array([self.best.loss], dtype=np.float64)
            arrays["best_step"] = np.array([self.best.step], dtype=np.int64)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Memory:
        """Return the memory that `to_arrays` wrote; an empty one for no arrays.

        ValueError or KeyError if they are none of a memory.
        """
        if not arrays:
            return cls()

        def listed(name: str, kind: str, length: int | None = 1) -> list[Any]:
            array = arrays[name]
            if array.dtype != kind or array.ndim != 1 or (length is not None and len(array) != length):
                raise ValueError(f"{name} of shape {array.shape}, {array.dtype}")
            found: list[Any] = array.tolist()
            return found

        seconds, gradient_norm, mark = listed("numbers", "float64", 3)
        (waited,) = listed("waited", "int64")
        best = None
        if "best_parameters" in arrays:
            (step,), (loss,) = listed("best_step", "int64"), listed("best_loss", "float64")
            best = Best(step, loss, arrays["best_parameters"])
        finished = bytes(listed("finished", "uint8", None)).decode() if "finished" in arrays else None
        losses = tuple(listed("losses", "float64", None))
        after = Point(*listed("after", "float64", 2)) if "after" in arrays else None
        return cls(seconds, losses, gradient_norm, finished, mark, waited, best, after)
