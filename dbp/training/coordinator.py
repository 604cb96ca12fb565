"""The training loop.

For each step: ask the optimiser where it wants to know the objective, have the pool compute it there (broadcast the parameters,
gather partial sums, reduce), hand the answer back until the optimiser has made its step; then validate, report, checkpoint,
and stop if a rule says so. Everything that decides the next step is in `Progress`, and a checkpoint is a Progress on disk.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dbp.errors import DbpError, NonFiniteLossError, StorageFailedError, TooFewWorkersError
from dbp.network.network import Network
from dbp.optimizers.protocol import Optimizer, State, StepResult
from dbp.sums.batches import BatchSampler
from dbp.training.memory import Measured, Memory, Point, Remember
from dbp.training.objective import Evaluated, LossReport, Objective
from dbp.training.observers import Observer, StepMetrics
from dbp.training.saving import Begin, ProgressStore, Saved, Saving
from dbp.training.stopping import Ending, StoppingRule
from dbp.vectors import digest, norm

Vector = NDArray[np.floating]


@dataclass(frozen=True)
class Progress:
    """How far training has come: all that the next step depends on."""

    step: int  # steps done
    parameters: Vector  # (P,)
    state: State  # the optimiser's
    memory: Memory = field(default_factory=Memory)  # what the stopping rules look at


@dataclass(frozen=True)
class Schedule:
    """What happens how often, in steps."""

    validate_every: int
    checkpoint_every: int
    validates: bool  # whether there are validation rows


@dataclass(frozen=True)
class Outcome:
    """Where training ended."""

    progress: Progress
    ending: Ending


@dataclass(frozen=True)
class Coordinator:
    """Runs one job's training. Holds no state of its own."""

    objective: Objective
    optimizer: Optimizer
    sampler: BatchSampler | None  # None: every step uses all rows
    schedule: Schedule
    rules: Sequence[StoppingRule]
    store: ProgressStore
    observer: Observer
    remember: Remember = field(default_factory=Remember)
    clock: Callable[[], float] = time.perf_counter  # seconds
    after: Callable[[int, Vector], None] = lambda step, parameters: None  # looks at the parameters after each step
    begin: Begin | None = None  # how a checkpoint is written while training goes on; None: by a thread

    def run(self, progress: Progress) -> Outcome:
        """Train from `progress` until a rule ends it; the last progress is saved.

        Raises NonFiniteLossError when the loss or the parameters leave the finite numbers; the last progress with a finite loss is
        saved before. TooFewWorkersError when workers are missing; the last progress is saved before. StorageFailedError when
        progress could not be saved again and again, or the last could not. However it ends, no checkpoint is being written then,
        but where it was interrupted and the storage takes seconds.
        """
        saving, good = Saving(self.store, self._tell, self.observer.warning, progress.step, self.begin), progress
        zero = self.clock() - progress.memory.seconds  # when training would have begun had it never been interrupted
        # Numbers that overflow are looked for after each step, and end the run with a sentence.
        with saving, np.errstate(all="ignore"):
            while (ending := self._ending(progress)) is None:
                try:
                    following = self._step(progress, zero)
                except NonFiniteLossError as error:
                    _keep(good, saving, error)
                    raise
                except TooFewWorkersError as error:
                    _keep(progress, saving, error)
                    raise
                good, progress = progress, following
                saving.look()
                if progress.step % self.schedule.checkpoint_every == 0:
                    saving.checkpoint(progress)
            saving.surely(progress)
        return Outcome(progress, ending)

    def _tell(self, saved: Saved) -> None:
        self.observer.checkpoint(saved.step, saved.path, saved.seconds)

    def _ending(self, progress: Progress) -> Ending | None:
        endings = (rule.ending(progress.step, progress.memory) for rule in self.rules)
        return next((ending for ending in endings if ending is not None), None)

    def _step(self, progress: Progress, zero: float) -> Progress:
        began = self.clock()
        step = progress.step + 1
        result, first = self._converse(progress, step)
        check_finite(result, step, self.objective.network)
        gradient_norm = norm(result.evaluation.gradient)
        # A batch whose rows weigh nothing has no loss and no gradient that a rule could look at.
        measured = self._measured(result, gradient_norm) if first.weight else None
        memory = progress.memory.after_step(measured, self.clock() - zero, self.remember)
        following = Progress(step, result.parameters, result.state, memory)
        metrics = StepMetrics(
            step=step,
            loss=result.evaluation.value,
            rms=result.evaluation.rms,
            seconds=0.0,
            rows=first.rows,
            workers=self.objective.pool.workers,
            gradient_norm=gradient_norm,
            digest=digest(result.parameters),
        )
        metrics, following = self._validated(metrics, following)
        self.observer.step(replace(metrics, seconds=self.clock() - began))
        self.after(step, result.parameters)
        return following

    def _measured(self, result: StepResult, gradient_norm: float) -> Measured:
        after = None
        if result.reached is not None and self.sampler is None:  # what a batch says of its end, the next one does not
            after = Point(result.reached.value, norm(result.reached.gradient))
        return Measured(result.evaluation.value, gradient_norm, result.finished, after)

    def _converse(self, progress: Progress, step: int) -> tuple[StepResult, Evaluated]:
        """Let the optimiser ask for the objective as often as it likes; return its step and the first answer."""
        batch = self.sampler.batch(step) if self.sampler else None
        trials = self.optimizer.step(progress.parameters, progress.state)
        first: Evaluated | None = None
        asked = next(trials)
        while True:
            evaluated = self.objective.evaluate(asked, step, batch)
            first = first or evaluated
            try:
                asked = trials.send(evaluated.evaluation)
            except StopIteration as done:
                result: StepResult = done.value
                return result, first

    def _validated(self, metrics: StepMetrics, progress: Progress) -> tuple[StepMetrics, Progress]:
        """Measure on the validation rows where it is time to, or where training ends; remember what was scheduled."""
        schedule = self.schedule
        scheduled = progress.step % schedule.validate_every == 0
        if not schedule.validates or not (scheduled or self._ending(progress) is not None):
            return metrics, progress
        report: LossReport = self.objective.report("validation", progress.parameters)
        if scheduled:
            memory = progress.memory.after_validation(progress.step, report.mean, progress.parameters, self.remember)
            progress = replace(progress, memory=memory)
        metrics = replace(
            metrics,
            validation_loss=report.mean,
            validation_rms=report.rms,
            validation_accuracy=report.accuracy,
        )
        return metrics, progress


def _keep(progress: Progress, saving: Saving, error: DbpError) -> None:
    """Save the progress of a run that an error ends, if it is not saved; what goes wrong with that is told with the error."""
    saving.settle(ending=True)
    if progress.step > saving.saved and progress.step > 0:
        try:
            saving.surely(progress)
        except StorageFailedError as problem:
            error.add_note(str(problem))


def check_finite(result: StepResult, step: int, network: Network) -> None:
    """Raise NonFiniteLossError if the step's loss or its new parameters are not finite; the message says where and what to try."""
    value, gradient = result.evaluation.value, result.evaluation.gradient
    if not math.isfinite(value):
        what = f"the loss became {value}"
    elif not np.isfinite(gradient).all():
        what = "the gradient became infinite or NaN"
    elif not np.isfinite(result.parameters).all():
        what = "the parameters became infinite or NaN"
    else:
        return
    raise NonFiniteLossError(
        f"{what} at step {step}{_largest_gradient(result.evaluation.gradient, network)}. "
        "Try a smaller optimizer.learning_rate (where the method has one), `data.standardize: true`, or "
        "`training.precision: float64`."
    )


def _largest_gradient(gradient: Vector, network: Network) -> str:
    norms = [float(np.abs(layer.weights).max()) for layer in network.layers(gradient)]
    finite = [norm if math.isfinite(norm) else math.inf for norm in norms]
    layer = max(range(len(finite)), key=lambda index: finite[index])
    return f" (the largest gradient is in layer {layer + 1} of {len(norms)}: {norms[layer]:.3g})"
