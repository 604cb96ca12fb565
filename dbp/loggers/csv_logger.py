"""A CSV file with a line per step."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TextIO

from dbp.errors import InputError, StorageError
from dbp.loggers.numbers import METRICS, run_number
from dbp.loggers.run_file import RunFileLogger
from dbp.storage.atomic_files import storage_error, write_text
from dbp.training.observers import Plan, StepMetrics

COLUMNS = ("job", "run", "step", *METRICS)


class CsvLogger(RunFileLogger):
    """Writes one line per step to a CSV file: job, run, step, and all metrics; empty where one was not measured.

    Lines of other jobs and runs that the file has already stay. A resumed job goes on where its checkpoint was: lines of steps that
    are computed again are taken out first, so that none is there twice. InputError where the file is of another kind, StorageError
    where it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._kept()  # a file that cannot be used is found before the job begins
        self._file: TextIO | None = None
        self._start: tuple[str, int] = ("", 1)

    def started(self, plan: Plan) -> None:
        """Take out what will be computed again, and open the file."""
        self._close()
        self._start = job, run = plan.job_id, run_number(plan)
        rows = [row for row in self._kept() if not _again(row, job, run, plan.first_step)]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
        write_text(self.path, text.getvalue())
        self._file = open(self.path, "a", encoding="utf-8", newline="", buffering=1)  # noqa: SIM115 (until the run's end)

    def step(self, metrics: StepMetrics) -> None:
        """Write the step's line."""
        if self._file is not None:
            measured = [getattr(metrics, name) for name in METRICS]
            line = [*self._start, metrics.step, *("" if value is None else repr(value) for value in measured)]
            csv.writer(self._file, lineterminator="\n").writerow(line)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _kept(self) -> list[list[str]]:
        """Return the rows of the file; [] where there is none."""
        try:
            with open(self.path, encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))
        except FileNotFoundError:
            if not self.path.parent.is_dir():
                raise StorageError(f"{self.path}: there is no folder {self.path.parent}; make it first") from None
            return []
        except OSError as error:
            raise storage_error("be read", self.path, error) from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.path}: no CSV file of dbp's metrics ({error}); expected a new name") from error
        if rows and tuple(rows[0]) != COLUMNS:
            raise InputError(
                f"{self.path}: is there already and no file of this logger (its first line differs); expected a new name"
            )
        return rows[1:]


def _again(row: list[str], job: str, run: int, first_step: int) -> bool:
    """Whether a row is of a step that the run makes again; a line torn by a killed process counts as one."""
    if len(row) != len(COLUMNS) or not row[2].isdigit():
        return True
    return (row[0], row[1]) == (job, str(run)) and int(row[2]) >= first_step
