"""Where a job's training and validation rows come from. Small and made of plain values: a worker process is sent it and reads its
own rows only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from dbp.data.encoding import Encoding, Task, numbers_of
from dbp.data.open_table import open_table
from dbp.data.rows import EncodedRows
from dbp.data.split import Split
from dbp.data.table import Table, require_columns
from dbp.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.statistics import ColumnSummary

Part = Literal["train", "validation"]
MOST_CLASSES = 1000
MOST_SPLIT_ROWS = 999_999_999  # numpy draws no multivariate hypergeometric numbers beyond


@dataclass(frozen=True)
class Dataset:
    """The tables of a job, its columns, and which rows are held out."""

    train: str
    validation: float | str | None
    features: tuple[str, ...]
    targets: tuple[str, ...]
    task: Task
    seed: int
    weight: str | None = None  # the column that says how much a row counts

    @classmethod
    def open(
        cls,
        train: str,
        validation: float | str | None,
        target: str | Sequence[str],
        features: Sequence[str] | None,
        task: Task,
        seed: int,
        weight: str | None = None,
    ) -> Dataset:
        """Open the tables and check all that their metadata can tell. DataError names file and column."""
        table = open_table(train)
        targets = (target,) if isinstance(target, str) else tuple(target)
        others = (*targets, *([] if weight is None else [weight]))
        require_columns(table, others)
        chosen = tuple(features) if features is not None else tuple(n for n in table.schema.names if n not in others)
        require_columns(table, chosen)
        if not chosen:
            raise DataError(
                f"{table.path}: no column but the target {', '.join(targets)}; expected features to learn from"
            )
        both = [name for name in chosen if name in targets]
        if both:
            raise DataError(
                f"{table.path}: {both[0]!r} is the target and listed in data.features; expected one or the other"
            )
        dataset = cls(train, validation, chosen, targets, task, seed, weight)
        dataset.__dict__["_train_table"] = table  # which is open already
        tables = [table]
        if dataset._validation_table is not None:
            tables.append(dataset._validation_table)
            require_columns(tables[1], (*chosen, *others))
        for each in tables:
            dataset._check_rows(each)
            dataset._check_types(each)
        return dataset

    @property
    def training_rows(self) -> int:
        """The number of rows to learn from."""
        return self._split.training_rows if self._split else self._train_table.row_count

    @property
    def validation_rows(self) -> int:
        """The number of rows to validate on; 0 for none."""
        if self._split:
            return self._split.validation_rows
        return self._validation_table.row_count if self._validation_table is not None else 0

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) of the contents of the tables."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(self._train_table.fingerprint().encode())
        if self._validation_table is not None:
            digest.update(self._validation_table.fingerprint().encode())
        return digest.hexdigest()

    @property
    def reading_bytes(self) -> int:
        """About how much memory a process takes to read rows, besides those rows."""
        columns = (*self.features, *self.targets, *([] if self.weight is None else [self.weight]))
        tables = [self._train_table, *([self._validation_table] if self._validation_table is not None else [])]
        return max(table.reading_bytes(columns) for table in tables)

    def summarize(self, part: Part, start: int, stop: int) -> ColumnSummary:
        """Return the summary of rows [start, stop) of a part."""
        from dbp.data.statistics import summarize

        table, rows = self._read(part, start, stop)
        numeric = (*self.features, *self.targets) if self.task == "regression" else self.features
        return summarize(table, numeric, None if self.task == "regression" else self.targets[0], rows, self.weight)

    def encode(
        self, part: Part, start: int, stop: int, encoding: Encoding, dtype: np.dtype[np.floating]
    ) -> EncodedRows:
        """Return rows [start, stop) of a part; their weights are the column's."""
        table, rows = self._read(part, start, stop)
        source = self._table(part).path
        inputs = encoding.encode_features(table, dtype, source, rows)
        targets = encoding.encode_targets(table, dtype, source, rows)
        weights = None if self.weight is None else numbers_of(table, [self.weight], source, rows)[:, 0]
        return EncodedRows(inputs, targets, weights)

    def check(self, training: ColumnSummary, validation: ColumnSummary | None) -> None:
        """Raise DataError for everything that the summaries show to be unusable, all at once."""
        bad = {(self._train_table.path, name): cells for name, cells in training.bad.items()}
        for name, cells in (validation.bad if validation is not None else {}).items():
            place = (self._table("validation").path, name)
            bad[place] = cells.merged(bad.get(place))  # with a share held out, both parts are of one file
        problems = [f"{path}: {cells.describe(name)}" for (path, name), cells in bad.items()]
        if self.task == "classification" and self.targets[0] not in training.bad:
            problems += self._label_problems(training, validation)
        if self.weight is not None and self.weight not in training.bad and training.largest_weight == 0:
            problems.append(
                f"{self._train_table.path}: data.weight {self.weight!r} is 0 in every training row; expected one above 0"
            )
        if problems:
            raise DataError("\n".join(problems))

    def _label_problems(self, training: ColumnSummary, validation: ColumnSummary | None) -> list[str]:
        path, target, classes = self._train_table.path, self.targets[0], training.labels
        if len(classes) == 1:
            (only,) = classes
            return [f"{path}: target {target!r} has one class only ({only!r}); expected at least two"]
        if len(classes) > MOST_CLASSES:
            return [
                f"{path}: target {target!r} has {len(classes)} classes in {training.rows} rows; expected at most "
                f"{MOST_CLASSES}. If it is a quantity, say `task: regression`"
            ]
        unknown = sorted(set(validation.labels) - set(classes), key=str) if validation is not None else []
        if unknown:
            shown = ", ".join(map(repr, unknown[:5]))
            return [
                f"{self._table('validation').path}: target {target!r} has classes among the validation rows that no "
                f"training row has: {shown}; expected every class among the training rows"
            ]
        return []

    def _check_rows(self, table: Table) -> None:
        if table.row_count == 0:
            raise DataError(f"{table.path}: has columns but no rows; expected at least one")
        if isinstance(self.validation, float) and table.row_count < 2:
            raise DataError(
                f"{table.path}: 1 row cannot be split for data.validation {self.validation}; expected 2 or more"
            )
        if isinstance(self.validation, float) and table.row_count > MOST_SPLIT_ROWS:
            raise DataError(
                f"{table.path}: {table.row_count} rows cannot be split for data.validation {self.validation}; expected at "
                f"most {MOST_SPLIT_ROWS}. Name a validation table instead"
            )

    def _check_types(self, table: Table) -> None:
        from dbp.data.columns import is_label, is_number

        quantities = (*self.features, *self.targets) if self.task == "regression" else self.features
        quantities = (*quantities, *([] if self.weight is None else [self.weight]))
        for name in quantities:
            kind = table.schema.field(name).type
            if not is_number(kind):
                raise DataError(f"{table.path}: {_why_no_number(table, name, kind)}")
        kind = table.schema.field(self.targets[0]).type
        if self.task == "classification" and not is_label(kind):
            raise DataError(
                f"{table.path}: target {self.targets[0]!r} holds {kind}; expected text, whole numbers or true/false"
            )

    def _read(self, part: Part, start: int, stop: int) -> tuple[pa.Table, NDArray[np.int64]]:
        """Return rows [start, stop) of a part, and their places in the file, from 0."""
        import pyarrow as pa

        table, columns = self._table(part), (*self.features, *self.targets)
        columns = columns if self.weight is None else (*columns, self.weight)
        if self._split:
            rows = self._split.rows(part == "validation", start, stop)
            first, end = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        else:
            rows, first, end = np.arange(start, stop), start, stop
        schema = pa.schema([table.schema.field(name) for name in columns])
        found = pa.Table.from_batches(list(table.batches(first, end, columns)), schema)
        if found.num_rows != end - first:
            raise DataError(f"{table.path}: rows {first + 1} to {end} are not there; has the file changed?")
        if self._split:
            found = found.take(rows - first)
        return found, rows

    def _table(self, part: Part) -> Table:
        if part == "validation" and self._validation_table is not None:
            return self._validation_table
        return self._train_table

    @cached_property
    def _train_table(self) -> Table:
        return open_table(self.train, self._learnt.get("_train_table"))

    @cached_property
    def _validation_table(self) -> Table | None:
        if not isinstance(self.validation, str):
            return None
        return open_table(self.validation, self._learnt.get("_validation_table"))

    @cached_property
    def _learnt(self) -> dict[str, object]:
        return {}

    @cached_property
    def _split(self) -> Split | None:
        if not isinstance(self.validation, float):
            return None
        return Split(self._train_table.row_count, self.validation, self.seed)

    def __getstate__(self) -> dict[str, object]:
        # Open files stay in their process; each opens its own, and is told what this one learnt by opening them.
        tables = {name: self.__dict__.get(name) for name in ("_train_table", "_validation_table")}
        learnt = self._learnt | {name: table.learnt() for name, table in tables.items() if table is not None}
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"_learnt": learnt}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)


def _why_no_number(table: Table, name: str, kind: pa.DataType) -> str:
    """Return words for a feature or quantity column that holds no numbers, with the first cell that is none."""
    from dbp.data.columns import BadCells

    advice = "numbers; leave the column out of data.features, or turn it into numbers"
    place = 0
    for batch in table.batches(0, table.row_count, [name]):
        if not _read_as_numbers(batch.column(0)):
            for offset in range(batch.num_rows):
                if not _read_as_numbers(batch.column(0).slice(offset, 1)):
                    text = repr(batch.column(0)[offset].as_py())[:80]
                    return BadCells(1, place + offset + 1, text, advice).describe(name)
        place += batch.num_rows
    return f"column {name!r} holds {kind}; expected {advice}"


def _read_as_numbers(column: pa.Array) -> bool:
    """Whether all cells are missing or spell numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.utf8_trim(column.drop_null().cast(pa.string()), " \t").cast(pa.float64())
    except pa.ArrowException:
        return False
    return True
