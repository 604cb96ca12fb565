"""A table's rows with predictions as further columns, written as they come: a span of rows is in memory at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from dbp.errors import DataError, InputError
from dbp.models.formulas import first_formula
from dbp.network.losses import probabilities

if TYPE_CHECKING:
    import pyarrow as pa

    from dbp.data.table import Table
    from dbp.data.target_classes import LabelPair
    from dbp.models.model import Batch, Model

Warn: TypeAlias = Callable[[str], None]
ENDINGS = (".parquet", ".csv")  # of the tables that predictions can be written to
PIECES = 4  # of a span
_MOST_PIECE_ROWS = 65_536
_PIECE_NUMBERS = 1 << 20  # 8 MiB


@dataclass(frozen=True)
class Predictions:
    """What is added to a table: the names of the columns, and what is written in the end."""

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
        twice = [name for name, count in Counter(plan.names).items() if count > 1]
        if twice:
            raise DataError(
                f"two columns of predictions would both be called {twice[0]!r}, because of the names of the targets and their "
                "classes; expected other names in training, or `--no-probabilities`"
            )
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
        if encoding.task == "multilabel":
            return tuple(
                name for pair in zip(encoding.targets, encoding.labels, strict=True) for name in self._group(*pair)
            )
        several = encoding.task == "regression" and len(encoding.targets) > 1
        predicted = tuple(f"prediction_{target}" for target in encoding.targets) if several else ("prediction",)
        if not self.with_probabilities:
            return predicted
        return (*predicted, *(f"probability_{_word(value)}" for value in encoding.classes))

    def _group(self, target: str, pair: LabelPair) -> tuple[str, ...]:
        """Return the names of one label's columns."""
        chances = (f"probability_{target}_{_word(value)}" for value in pair)
        return (f"prediction_{target}", *(chances if self.with_probabilities else ()))

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's columns, then those that are added."""
        import pyarrow as pa

        nothing = np.empty((0, self.model.network.sizes[-1]), self.model.parameters.dtype)
        values = predicted_columns(self.model, nothing, self.with_probabilities)
        added = [(name, pa.array(column).type) for name, column in zip(self.names, values, strict=True)]
        return pa.schema([*self.table.schema.remove_metadata(), *(pa.field(*column) for column in added)])

    def task(self, *, parquet: bool) -> PredictionTask:
        """Return what is to be done with each span of the table."""
        columns = tuple(self.table.schema.names)
        piece_rows = min(_MOST_PIECE_ROWS, max(_PIECE_NUMBERS // len(self.schema), 1))
        return PredictionTask(self.model, columns, self.schema, self.with_probabilities, parquet, piece_rows)


def predicted_columns(
    model: Model, outputs: np.ndarray[Any, Any], with_probabilities: bool
) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the columns that raw outputs (rows, N_out) stand for: predictions, then the probability of each class.

    Of a multilabel model, these for one label after the other.
    """
    predicted = model.predictions(outputs)
    if model.encoding.task == "multilabel":
        for place, pair in enumerate(model.encoding.labels):
            yield predicted[:, place].astype(np.array(pair).dtype)
            if with_probabilities:
                yield from np.ascontiguousarray(probabilities(outputs[:, place : place + 1]).T)
        return
    yield from predicted.T if predicted.ndim == 2 else (predicted,)
    if with_probabilities:
        yield from np.ascontiguousarray(probabilities(outputs).T)


class PredictedSpan(NamedTuple):
    """A span with its predictions, as it is written."""

    rows: int
    pieces: tuple[Any, ...]  # Arrow tables, each a row group of a Parquet file; or bytes of CSV
    formula: tuple[str, str] | None  # column and text of the first cell in CSV that a spreadsheet would compute


@dataclass(frozen=True)
class PredictionTask:
    """Adds predictions to spans of a table. Pieces are cut by row numbers, so that what is written does not depend on how the
    table is read, nor by whom."""

    model: Model
    columns: tuple[str, ...]
    schema: pa.Schema  # of what is written
    with_probabilities: bool
    parquet: bool
    piece_rows: int  # of a row group

    @property
    def span_rows(self) -> int:
        """See `Task`."""
        return PIECES * self.piece_rows

    @property
    def result_bytes(self) -> int:
        """See `Task`."""
        return self.span_rows * len(self.schema) * (8 if self.parquet else 20)  # a number in CSV is that long

    def compute(self, batches: Iterable[Batch]) -> PredictedSpan:
        """See `Task`."""
        rows, formula = 0, None
        pieces: list[Any] = []
        for piece in self._pieces(self._predicted(batch) for batch in batches):
            rows += piece.num_rows
            if not self.parquet and formula is None:
                formula = next(filter(None, map(first_formula, piece.to_batches())), None)
            pieces.append(_compact(piece) if self.parquet else _as_csv(piece))
        return PredictedSpan(rows, tuple(pieces), formula)

    def _predicted(self, batch: Batch) -> pa.RecordBatch:
        import pyarrow as pa

        outputs = self.model.outputs(*batch)
        added = [pa.array(values) for values in predicted_columns(self.model, outputs, self.with_probabilities)]
        return pa.RecordBatch.from_arrays([*batch.rows.columns, *added], schema=self.schema)

    def _pieces(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
        held: list[pa.RecordBatch] = []
        count = 0
        for batch in batches:
            start = 0
            while start < batch.num_rows:
                part = batch.slice(start, self.piece_rows - count)
                held.append(part)
                start, count = start + part.num_rows, count + part.num_rows
                if count == self.piece_rows:
                    yield _whole(held)
                    held, count = [], 0
        if held:
            yield _whole(held)


def _whole(batches: list[pa.RecordBatch]) -> pa.Table:
    """Return batches as one; text that is stored as numbers of a list has the list of this piece, in the order of its rows."""
    import pyarrow as pa

    table = pa.Table.from_batches(batches).combine_chunks()
    for place, field in enumerate(table.schema):
        kind = field.type
        if pa.types.is_dictionary(kind) and not kind.ordered:  # an order would be lost
            coded = table.column(place).cast(kind.value_type).combine_chunks().dictionary_encode()
            column = pa.DictionaryArray.from_arrays(coded.indices.cast(kind.index_type), coded.dictionary)
            table = table.set_column(place, field, column)
    return table


def _compact(table: pa.Table) -> pa.Table:
    """Return a copy that holds on to nothing else: a slice keeps, and takes along to another process, all that it was cut from."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def _as_csv(table: pa.Table, header: bool = False) -> bytes:
    import pyarrow as pa
    import pyarrow.csv

    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=header))
    text: bytes = sink.getvalue().to_pybytes()
    return text


def _hears_nothing(text: str) -> None:
    pass


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


@contextmanager
def prediction_file(out: Path) -> Iterator[IO[bytes]]:
    """Lend a file that becomes `out` at the end, whole or not at all. StorageError when that fails."""
    from dbp.storage.atomic_files import atomic_path

    with atomic_path(out) as temporary, open(temporary, "wb") as file:
        yield file


def write_predictions(
    task: PredictionTask, spans: Iterable[PredictedSpan], file: IO[bytes], source: str, warn: Warn = _hears_nothing
) -> int:
    """Write all rows to a file as Parquet or CSV; return how many. `spans` are those of the task, in order, of table `source`.

    `warn` hears of text in CSV that a spreadsheet would take for a formula.
    """
    rows, formula = 0, None
    with _refusals(source), _writer(task.schema, file, task.parquet) as write:
        for span in spans:
            for piece in span.pieces:
                write(piece)
            rows += span.rows
            if formula is None and span.formula is not None:
                column, text = formula = span.formula
                warn(
                    f"column {column!r} has text that a spreadsheet would take for a formula ({text[:40]!r}); it is written as it "
                    "is. Import the column as text, or write to .parquet"
                )
    return rows


@contextmanager
def _writer(schema: pa.Schema, file: IO[bytes], parquet: bool) -> Iterator[Callable[[Any], object]]:
    if parquet:
        import pyarrow.parquet

        with pyarrow.parquet.ParquetWriter(file, schema) as writer:
            yield writer.write_table
    else:
        file.write(_as_csv(schema.empty_table(), header=True))
        yield file.write


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
