"""CSV files with a header, read as a stream.

A column's type is decided over the whole file, not from its first rows: opening a table reads it once, as text, counts the
rows, and keeps for each column the narrowest of bool, int64, float64 and string that fits every cell. An empty cell is a
missing value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from dbp.data.table import BATCH_ROWS, ROW_NUMBERS, require_unique
from dbp.data.table_file import TableFile
from dbp.errors import DataError

_CANDIDATES = (pa.bool_(), pa.int64(), pa.float64())
_MISSING = ["", "NA", "NaN", "nan", "null", "NULL", "N/A"]
_TRUE, _FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]
_BLOCK_BYTES = 8 << 20
_BLOCKS_AT_ONCE = 48  # that Arrow reads ahead, parsed and not: measured to 410 MiB


@dataclass(frozen=True)
class _Header:
    names: tuple[str, ...]
    lines: int  # that it takes in the file, blank ones before it included


class CsvTable:
    """See `Table`."""

    def __init__(self, source: TableFile, header: _Header, schema: pa.Schema, row_count: int) -> None:
        self._source = source
        self._header = header
        self.path = source.path
        self.schema = schema
        self.row_count = row_count

    @classmethod
    def open(cls, source: TableFile, learnt: object | None = None) -> CsvTable:
        """Read the file once. DataError for a ragged row, a repeated column name, an open quote, or text that is not UTF-8."""
        place, path = source.local(), source.path
        header = _header(place, path)
        names = header.names
        fitting = {name: list(_CANDIDATES) for name in names}
        rows, last = 0, ""
        for batch in _read(place, path, header, {name: pa.string() for name in names}, names):
            rows += batch.num_rows
            for name in names:
                fitting[name] = [kind for kind in fitting[name] if _fits(batch.column(name), kind)]
            if batch.num_rows:
                last = batch.column(len(names) - 1)[batch.num_rows - 1].as_py() or ""
        if _ends_inside_quotes(place, last):
            raise DataError(
                f"{path}: row {rows} ({ROW_NUMBERS}) ends inside quotes, and with it the file; expected a closing quote. "
                "Is the file truncated, or a quote missing further up?"
            )
        schema = pa.schema([(name, (fitting[name] or [pa.string()])[0]) for name in names])
        return cls(source, header, schema, rows)

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`. A CSV file has no index: everything before `start` is read and passed over."""
        types = {name: self.schema.field(name).type for name in columns}
        place = 0
        for batch in _read(self._source.local(), self.path, self._header, types, columns):
            low, high = max(start - place, 0), min(stop - place, batch.num_rows)
            for first in range(low, high, BATCH_ROWS):
                yield batch.slice(first, min(BATCH_ROWS, high - first)).select(list(columns))
            place += batch.num_rows
            if place >= stop:
                return

    def fingerprint(self) -> str:
        """See `Table`."""
        return self._source.fingerprint()

    def learnt(self) -> None:
        """See `Table`."""

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """See `Table`."""
        return min(_BLOCKS_AT_ONCE * _BLOCK_BYTES, 2 * self._source.size())


def _fits(column: pa.Array, kind: pa.DataType) -> bool:
    texts = column.drop_null()
    if kind == pa.bool_():
        return bool(pc.all(pc.is_in(texts, pa.array(_TRUE + _FALSE))).as_py() is not False)
    try:
        pc.utf8_trim(texts, " \t").cast(kind)  # blanks around a number do not count, as in the reader
    except pa.ArrowException:
        return False
    return True


def _header(place: Path, path: str) -> _Header:
    """Read the header: the first line that is not blank; a name in quotes may hold line breaks."""
    import csv

    try:
        # The file is decoded ahead: bytes that are no UTF-8 are refused here only where they stand in a name.
        with open(place, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.reader(file)
            names = next((row for row in reader if row), [])
            lines = reader.line_num
        "".join(names).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: its header is not text in UTF-8; expected UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path}: its header cannot be read as CSV ({error})") from error
    if not any(name.strip() for name in names):
        raise DataError(f"{path}: nothing but blanks; expected a header with the names of the columns")
    require_unique(path, names)
    return _Header(tuple(names), lines)


def _ends_inside_quotes(place: Path, last: str) -> bool:
    """Whether the file ends in a quoted cell that is not closed (`last` is what was read of it). Arrow takes that for a cell."""
    tail = b'"' + last.replace('"', '""').encode()
    with open(place, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - len(tail) - 1, 0))
        end = file.read()
    return len(end) == len(tail) + 1 and end[1:] == tail and end[:1] in b",\r\n"


def _read(
    place: Path, path: str, header: _Header, types: dict[str, pa.DataType], columns: Sequence[str]
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
        true_values=_TRUE,
        false_values=_FALSE,
    )
    try:
        with pyarrow.csv.open_csv(
            place,
            pyarrow.csv.ReadOptions(
                block_size=_BLOCK_BYTES, use_threads=False, column_names=list(header.names), skip_rows=header.lines
            ),
            pyarrow.csv.ParseOptions(
                newlines_in_values=True,
                invalid_row_handler=note,
                # In a table of one column a blank line is a row whose cell is missing: it must not vanish.
                ignore_empty_lines=len(header.names) > 1,
            ),
            convert,
        ) as reader:
            yield from reader
    except pa.ArrowException as error:
        if ragged:
            row = ragged[0]
            number = (
                _ragged_row_number(place, header, row.expected_columns)
                if row.number is None
                else row.number - header.lines
            )
            raise DataError(
                f"{path}: row {number} ({ROW_NUMBERS}) has {_fields(row.actual_columns)}; expected {row.expected_columns}, "
                "as in the header"
            ) from None
        message = str(error).splitlines()[0]
        if "Empty CSV" in message or "Could not skip initial" in message:
            return  # a header and nothing else
        raise DataError(f"{path}: {_in_words(message, header)}") from error


def _fields(count: int) -> str:
    return f"{count} field{'s' if count != 1 else ''}"


def _ragged_row_number(place: Path, header: _Header, expected: int) -> int | str:
    import csv

    with open(place, newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = (row for row in csv.reader(file) if row)
        return next((number for number, row in enumerate(rows) if number and len(row) != expected), "?")


def _in_words(message: str, header: _Header) -> str:
    """Return Arrow's message in the user's terms."""
    cell = re.search(r"In CSV column #(\d+): Row #(\d+): .*invalid UTF8", message)
    if cell:
        row = int(cell[2]) - header.lines
        return (
            f"column {header.names[int(cell[1])]!r}, row {row} ({ROW_NUMBERS}): text that is not UTF-8; expected UTF-8"
        )
    if "straddl" in message:
        return f"a row of more than {_BLOCK_BYTES >> 20} MiB; expected shorter ones. Is a closing quote missing?"
    return f"cannot be read as CSV ({message})"
