"""CSV files with a header, read as a stream.

A column's type is decided over the whole file, not from its first rows: opening a table reads it once, as text, counts the
rows, and keeps for each column the narrowest of bool, int64, float64 and string that fits every cell. An empty cell is a missing value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from dbp.data.table import BATCH_ROWS, ROW_NUMBERS, file_fingerprint
from dbp.errors import DataError

_CANDIDATES = (pa.bool_(), pa.int64(), pa.float64())
_MISSING = ["", "NA", "NaN", "nan", "null", "NULL", "N/A"]
_BLOCK_BYTES = 8 << 20


class CsvTable:
    """See `Table`."""

    def __init__(self, place: Path, path: str, schema: pa.Schema, row_count: int) -> None:
        self._place = place
        self.path = path
        self.schema = schema
        self.row_count = row_count

    @classmethod
    def open(cls, place: Path, path: str) -> CsvTable:
        """Read the file once. DataError for a ragged row, a repeated column name, or text that is not UTF-8."""
        names = _header(place, path)
        fitting = {name: list(_CANDIDATES) for name in names}
        rows = 0
        for batch in _read(place, path, names, {name: pa.string() for name in names}, names):
            rows += batch.num_rows
            for name in names:
                fitting[name] = [kind for kind in fitting[name] if _fits(batch.column(name), kind)]
        schema = pa.schema([(name, (fitting[name] or [pa.string()])[0]) for name in names])
        return cls(place, path, schema, rows)

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`. A CSV file has no index: everything before `start` is read and passed over."""
        types = {name: self.schema.field(name).type for name in columns}
        place = 0
        for batch in _read(self._place, self.path, self.schema.names, types, columns):
            low, high = max(start - place, 0), min(stop - place, batch.num_rows)
            for first in range(low, high, BATCH_ROWS):
                yield batch.slice(first, min(BATCH_ROWS, high - first)).select(list(columns))
            place += batch.num_rows
            if place >= stop:
                return

    def fingerprint(self) -> str:
        """See `Table`."""
        return file_fingerprint(self._place)


def _fits(column: pa.Array, kind: pa.DataType) -> bool:
    if kind == pa.bool_():
        texts = pc.utf8_lower(column.drop_null())
        return bool(pc.all(pc.is_in(texts, pa.array(["true", "false"]))).as_py() is not False)
    try:
        column.cast(kind)
    except pa.ArrowException:
        return False
    return True


def _header(place: Path, path: str) -> list[str]:
    try:
        with pyarrow.csv.open_csv(place, pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES)) as reader:
            names = list(reader.schema.names)
    except pa.ArrowException as error:
        names = _header_of_odd_file(place, path, error)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{path}: column {repeated[0]!r} is there twice; expected a name of its own for each column")
    return names


def _header_of_odd_file(place: Path, path: str, error: pa.ArrowException) -> list[str]:
    """Read the header alone where the reader stumbles over what follows: a ragged row is reported later, by its number."""
    import csv

    try:
        with open(place, newline="", encoding="utf-8") as file:
            return next(csv.reader(file))
    except (UnicodeDecodeError, StopIteration, csv.Error):
        raise DataError(f"{path}: not a CSV file in UTF-8 ({str(error).splitlines()[0]})") from error


def _read(
    place: Path, path: str, names: Sequence[str], types: dict[str, pa.DataType], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    ragged: list[pyarrow.csv.InvalidRow] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    convert = pyarrow.csv.ConvertOptions(
        column_types=types,
        include_columns=list(columns),
        null_values=_MISSING,
        strings_can_be_null=True,
        true_values=["true", "True", "TRUE"],
        false_values=["false", "False", "FALSE"],
    )
    try:
        with pyarrow.csv.open_csv(
            place,
            pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False, column_names=list(names), skip_rows=1),
            pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            convert,
        ) as reader:
            yield from reader
    except pa.ArrowException as error:
        if ragged:
            row = ragged[0]
            number = row.number - 1 if row.number is not None else _ragged_row_number(place, row.expected_columns)
            raise DataError(
                f"{path}: row {number} ({ROW_NUMBERS}) has {row.actual_columns} fields; expected {row.expected_columns}"
            ) from None
        if "Empty CSV" in str(error):
            return
        raise DataError(f"{path}: {_in_words(str(error))}") from error


def _ragged_row_number(place: Path, expected: int) -> int | str:
    import csv

    with open(place, newline="", encoding="utf-8", errors="replace") as file:
        for number, row in enumerate(csv.reader(file)):
            if row and len(row) != expected:
                return number
    return "?"


def _in_words(message: str) -> str:
    first = message.splitlines()[0]
    return re.sub(r"^CSV (conversion|parse) error[^:]*: ", "cannot be read as CSV: ", first)
