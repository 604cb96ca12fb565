"""TensorBoard event files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dbp.loggers.numbers import missing_extra, numbers_of
from dbp.loggers.run_file import RunFileLogger
from dbp.training.observers import Plan, StepMetrics

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


class TensorBoardLogger(RunFileLogger):
    """Writes event files below ``<folder>/<job id>`` (of several runs: ``<job id>/run-001`` and so on); the job file as text.

    A resumed job adds a file that has TensorBoard forget the steps which are computed again. InputError where tensorboardX is not
    installed (``pip install 'dbp[tensorboard]'``).
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise missing_extra("TensorBoard", "tensorboardX", "tensorboard") from error
        self.folder = Path(folder)
        self._make = SummaryWriter
        self._writer: SummaryWriter | None = None

    def started(self, plan: Plan) -> None:
        """Begin an event file."""
        self._close()
        place = self.folder / plan.job_id
        if plan.run is not None:
            place /= f"run-{plan.run.number:03}"
        purge = plan.first_step if plan.first_step > 1 else None
        # Files of one second have one name, and TensorBoard reads them in the order of their names.
        suffix = f".from-step-{plan.first_step:08}"
        self._writer = self._make(str(place), purge_step=purge, flush_secs=10, filename_suffix=suffix)
        if plan.job is not None:
            lines = plan.job.to_yaml().splitlines()
            self._writer.add_text("job", "\n".join(f"    {line}" for line in lines), plan.first_step - 1)

    def step(self, metrics: StepMetrics) -> None:
        """Write the step's numbers."""
        if self._writer is not None:
            for name, value in numbers_of(metrics).items():
                self._writer.add_scalar(name, value, metrics.step)

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        """Write out what waits: a run that goes on from this checkpoint does not make these steps again."""
        if self._writer is not None:
            self._writer.flush()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
