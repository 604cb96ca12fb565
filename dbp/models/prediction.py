"""A table's rows with predictions as further columns, written as they come: one batch is in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dbp.errors import DataError, InputError
from dbp.models.formulas import first_formula
from dbp.network.losses import probabilities

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.table import Table
    from dbp.models.model import Model

Warn: TypeAlias = Callable[[str], None]
ENDINGS = (".parquet", ".csv")  # of the tables that predictions can be written to


@dataclass(frozen=True)
class Predictions:
    """What is added to a table: the names of the columns, and batch by batch their values."""

    model: Model
    table: Table
    with_probabilities: bool

    @classmethod
    def of(cls, model: Model, table: Table, with_probabilities: bool | None) -> Predictions:
        """Plan the predictions of a table; None adds probabilities where the model has them.

        Raises DataError when a feature is missing or a new column would have the name of one that is there, InputError when the
        model has no probabilities.
        """
        from dbp.data.table import require_columns

        if with_probabilities and not model.has_probabilities:
            raise InputError(
                f"a model trained with {model.loss} has no class probabilities, only cross_entropy has; expected predictions "
                "alone (leave --probabilities out)"
            )
        require_columns(table, model.encoding.features)
        plan = cls(model, table, model.has_probabilities if with_probabilities is None else with_probabilities)
        clashes = [name for name in plan.names if name in table.schema.names]
        if clashes:
            raise DataError(
                f"{table.path}: has a column {clashes[0]!r} already, and the predictions need that name; "
                "expected a table without it. Rename it or drop it"
            )
        return plan

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that are added."""
        encoding = self.model.encoding
        several = encoding.task == "regression" and len(encoding.targets) > 1
        predicted = tuple(f"prediction_{target}" for target in encoding.targets) if several else ("prediction",)
        if not self.with_probabilities:
            return predicted
        return (*predicted, *(f"probability_{_word(value)}" for value in encoding.classes))

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's columns, then those that are added."""
        import pyarrow as pa

        nothing = np.empty((0, self.model.network.sizes[-1]), self.model.parameters.dtype)
        added = [(name, pa.array(values).type) for name, values in zip(self.names, self._values(nothing), strict=True)]
        return pa.schema([*self.table.schema.remove_metadata(), *(pa.field(*column) for column in added)])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the table's batches in order, each with its predictions behind its own columns."""
        import pyarrow as pa

        first_row = 0
        for batch in self.table.batches(0, self.table.row_count, self.table.schema.names):
            outputs = self.model.outputs(batch, self.table.path, first_row)
            added = [pa.array(values) for values in self._values(outputs)]
            yield pa.RecordBatch.from_arrays([*batch.columns, *added], schema=self.schema)
            first_row += batch.num_rows

    def _values(self, outputs: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
        predicted = self.model.predictions(outputs)
        yield from predicted.T if predicted.ndim == 2 else (predicted,)
        if self.with_probabilities:
            yield from np.ascontiguousarray(probabilities(outputs).T)


def _hears_nothing(text: str) -> None:
    pass


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def write_predictions(predictions: Predictions, out: Path, warn: Warn = _hears_nothing) -> int:
    """Write all rows to `out`, which appears whole or not at all; return how many. StorageError when that fails.

    `warn` hears of text in CSV that a spreadsheet would take for a formula.
    """
    from dbp.storage.atomic_files import atomic_path

    with atomic_path(out) as temporary, open(temporary, "wb") as file:
        return _write(predictions, file, warn, parquet=out.suffix.lower() == ".parquet")


def print_predictions(predictions: Predictions, file: IO[bytes], warn: Warn = _hears_nothing) -> int:
    """Write all rows to a stream as CSV; return how many. `warn`: see `write_predictions`."""
    return _write(predictions, file, warn, parquet=False)


def _write(predictions: Predictions, file: IO[bytes], warn: Warn, parquet: bool) -> int:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    kind = pyarrow.parquet.ParquetWriter if parquet else pyarrow.csv.CSVWriter
    rows, formula = 0, None
    with _refusals(predictions.table.path), kind(file, predictions.schema) as writer:
        for batch in predictions.batches():
            writer.write_table(pa.Table.from_batches([batch]))
            rows += batch.num_rows
            if not parquet and formula is None and (formula := first_formula(batch)) is not None:
                column, text = formula
                warn(
                    f"column {column!r} has text that a spreadsheet would take for a formula ({text[:40]!r}); it is written as it "
                    "is. Import the column as text, or write to .parquet"
                )
    return rows


@contextmanager
def _refusals(source: str) -> Iterator[None]:
    """A column of a type that the file to write cannot hold (lists in CSV) is the user's to know."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataError(
            f"{source}: a column cannot be written to that kind of file ({error}); write to .parquet, or drop it"
        ) from error
