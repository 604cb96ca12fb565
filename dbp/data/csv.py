"""CSV and TSV files with a header.

A column's type is decided over the whole file, not from its first rows: the file is looked through once (`text_scan`), as text, for
the narrowest of bool, int64, float64 and string that fits every cell of a column. An empty cell is a missing value. Who is told
what was learnt, and where rows are (`text_index`), reads the rows it needs only.
"""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from dbp.data.table import BATCH_ROWS, ROW_NUMBERS, require_unique
from dbp.data.table_file import TableFile
from dbp.data.text_index import MOST_ROW_BYTES, TextIndex, first_line_end, last_line_end
from dbp.data.text_scan import TextRows, TextScan
from dbp.errors import DataError

_CANDIDATES = (pa.bool_(), pa.int64(), pa.float64())
_MISSING = ["", "NA", "NaN", "nan", "null", "NULL", "N/A"]
_TRUE, _FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]
_PARSED_PER_BYTE = 32  # memory that a piece of text takes while it is read: measured to 24, on cells of one digit
_RAGGED = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+)")
_TOO_LONG = f"a row of more than {MOST_ROW_BYTES >> 20} MiB; expected shorter ones. Is a closing quote missing?"


@dataclass(frozen=True)
class _Header:
    names: tuple[str, ...]
    delimiter: str
    bytes: int  # that it takes in the file, what stands before it included


@dataclass(frozen=True)
class CsvLearnt:
    """What reading the file once found out."""

    size: int
    header: _Header
    kinds: Mapping[str, tuple[pa.DataType, ...]]  # for each column the types that fit every cell, narrowest first
    index: TextIndex


class CsvTable:
    """See `Table`."""

    def __init__(self, source: TableFile, learnt: CsvLearnt) -> None:
        self._source, self._learnt = source, learnt
        self.path = source.path
        self.schema = pa.schema([(name, (kinds or (pa.string(),))[0]) for name, kinds in learnt.kinds.items()])
        self.row_count = learnt.index.row_count

    @classmethod
    def open(cls, source: TableFile, learnt: object | None = None, delimiter: str = ",") -> CsvTable:
        """Read the file once, unless it is `learnt`.

        DataError for a ragged row, a repeated column name, an open quote, text that is not UTF-8, or a file that has changed.
        """
        if isinstance(learnt, CsvLearnt):
            source.require_size(learnt.size)
            return cls(source, learnt)
        return cls.open(source, TextScan.of(source, cls.rows(source, delimiter)).here(), delimiter)

    @classmethod
    def rows(cls, source: TableFile, delimiter: str = ",") -> CsvRows:
        """Return what is in a file, by its header, which is all that is read. DataError."""
        return CsvRows(_header(source, delimiter))

    @staticmethod
    def agree(learnt: Sequence[CsvLearnt]) -> Sequence[CsvLearnt]:
        """Return what was learnt of files of one table, with types that fit every cell of all files."""
        first = learnt[0].kinds
        common = {
            name: tuple(kind for kind in kinds if all(kind in each.kinds.get(name, ()) for each in learnt))
            for name, kinds in first.items()
        }
        return [
            replace(each, kinds={name: common.get(name, kinds) for name, kinds in each.kinds.items()})
            for each in learnt
        ]

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`. DataError where the rows are not those that were there when the file was first read."""
        types = {name: self.schema.field(name).type for name in columns}
        for place, piece in self._learnt.index.read(self._source, start, stop):
            row = place
            for batch in _parse(piece, self.path, place, self._learnt.header, types, columns):
                low, high = max(start - row, 0), min(stop - row, batch.num_rows)
                for first in range(low, high, BATCH_ROWS):
                    yield batch.slice(first, min(BATCH_ROWS, high - first)).select(list(columns))
                row += batch.num_rows

    def has_ranges(self) -> bool:
        """See `Table`."""
        return self._source.has_ranges()

    def fingerprint(self) -> str:
        """See `Table`."""
        return self._source.fingerprint()

    def learnt(self) -> CsvLearnt:
        """See `Table`."""
        return self._learnt

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """See `Table`."""
        return _PARSED_PER_BYTE * self._learnt.index.largest_piece


def _fits(column: pa.Array, kind: pa.DataType) -> bool:
    texts = column.drop_null()
    if kind == pa.bool_():
        return bool(pc.all(pc.is_in(texts, pa.array(_TRUE + _FALSE))).as_py() is not False)
    try:
        pc.utf8_trim(texts, " \t").cast(kind)  # blanks around a number do not count, as in the reader
    except pa.ArrowException:
        return False
    return True


_REST_OF_QUOTED = re.compile(rb'[^"]*+(?:""[^"]*+)*+"')


class CsvRows(TextRows):
    """See `TextRows`. The facts are of shape (columns, _CANDIDATES): whether a type fits all cells of a column."""

    too_long = _TOO_LONG

    def __init__(self, header: _Header) -> None:
        self._header, self._cut = header, _Cut(header.delimiter)
        self.begin = header.bytes

    def last_end(self, text: bytes) -> int:
        """See `TextRows`."""
        return self._cut(text)

    def first_end(self, text: bytes) -> int:
        """See `TextRows`."""
        return self._cut.first(text)

    def starts(self, text: bytes) -> Iterator[int]:
        """See `TextRows`. It begins outside of quotes, or inside."""
        if outside := self._cut.first(text, at=1):
            yield outside
        closing = self._cut.closing_quote(text, 1)
        if closing and (inside := self._cut.first(text, closing, closing)):
            yield inside

    def look(
        self, piece: bytes, path: str, place: int, facts: NDArray[np.bool_] | None
    ) -> tuple[int, NDArray[np.bool_]]:
        """See `TextRows`."""
        names, rows = self._header.names, 0
        fits = np.ones((len(names), len(_CANDIDATES)), dtype=np.bool_) if facts is None else facts.copy()
        for batch in _parse(piece, path, place, self._header, dict.fromkeys(names, pa.string()), names):
            rows += batch.num_rows
            for column, kind in zip(*fits.nonzero(), strict=True):
                fits[column, kind] = _fits(batch.column(int(column)), _CANDIDATES[kind])
        return rows, fits

    def check_last(self, piece: bytes, path: str, rows: int) -> None:
        """See `TextRows`."""
        if self._cut.ends_inside_quotes(piece):
            raise DataError(
                f"{path}: row {rows} ({ROW_NUMBERS}) ends inside quotes, and with it the file; expected a "
                "closing quote. Is the file truncated, or a quote missing further up?"
            )

    def merged(self, facts: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """See `TextRows`."""
        fits: NDArray[np.bool_] = np.logical_and.reduce(facts)
        return fits

    def learnt(self, path: str, size: int, index: TextIndex, facts: NDArray[np.bool_] | None) -> CsvLearnt:
        """See `TextRows`."""
        names = self._header.names
        fits = np.ones((len(names), len(_CANDIDATES)), dtype=np.bool_) if facts is None else facts
        kinds = {
            name: tuple(kind for kind, fitting in zip(_CANDIDATES, row, strict=True) if fitting)
            for name, row in zip(names, fits, strict=True)
        }
        return CsvLearnt(size, self._header, kinds, index)


class _Cut:
    """Finds row ends as Arrow's reader does: a quote opens a cell only where a cell begins, and two in it stand for one."""

    def __init__(self, delimiter: str) -> None:
        begins = re.escape(delimiter.encode())
        self._quoted = re.compile(rb"(?:\A|(?<=[\r\n]|" + begins + rb'))"[^"]*+(?:""[^"]*+)*+(?:"|\Z)')

    def __call__(self, text: bytes) -> int:
        """Return how many bytes of a text that begins at a row's start are whole rows."""
        cells = [match.span() for match in self._quoted.finditer(text)] if b'"' in text else []
        end = len(text)
        for first, after in reversed(cells):
            if found := last_line_end(text, after, end):
                return found
            end = first
        return last_line_end(text, 0, end)

    def first(self, text: bytes, start: int = 0, at: int = 0) -> int:
        """Return where the first line end in text[start:] ends that is in no cell which begins at `at` or after; 0 for none."""
        for match in self._quoted.finditer(text, at) if b'"' in text else ():
            if found := first_line_end(text, start, match.start()):
                return found
            start = match.end()
        return first_line_end(text, start)

    def closing_quote(self, text: bytes, start: int) -> int:
        """Return where a cell in quotes ends, of which text[start:] is the rest; 0 where it has no end."""
        found = _REST_OF_QUOTED.match(text, start)
        return found.end() if found else 0

    def ends_inside_quotes(self, text: bytes) -> bool:
        """Whether a text that begins at a row's start ends in a cell whose closing quote is missing."""
        last = deque(self._quoted.finditer(text), 1)
        # Of a cell that is cut off, the quotes are an odd number: one that opens it, and pairs.
        return bool(last) and last[0].end() == len(text) and last[0][0].count(b'"') % 2 == 1


def _header(source: TableFile, delimiter: str) -> _Header:
    """Read the header: the first line that is not blank; a name in quotes may hold line breaks."""
    import csv

    length, path = 0, source.path

    def counted(file: io.TextIOWrapper) -> Iterator[str]:
        nonlocal length
        for line in file:
            text = line.removeprefix("\ufeff") if length == 0 else line
            length += len(line.encode("utf-8", "surrogateescape"))
            yield text

    try:
        # The file is decoded ahead: bytes that are no UTF-8 are refused here only where they stand in a name.
        with io.TextIOWrapper(source.open_ranges(), "utf-8", "surrogateescape", newline="") as file:
            names = next((row for row in csv.reader(counted(file), delimiter=delimiter) if row), [])
        "".join(names).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: its header is not text in UTF-8; expected UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path}: its header cannot be read as CSV ({error})") from error
    if not any(name.strip() for name in names):
        raise DataError(f"{path}: nothing but blanks; expected a header with the names of the columns")
    require_unique(path, names)
    return _Header(tuple(names), delimiter, length)


def _parse(
    piece: bytes, path: str, place: int, header: _Header, types: Mapping[str, pa.DataType], columns: Sequence[str]
) -> list[pa.RecordBatch]:
    """Return the rows of a piece of the file that begins with row `place`, from 0."""
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(piece),
            pyarrow.csv.ReadOptions(block_size=len(piece) + 1, use_threads=False, column_names=list(header.names)),
            pyarrow.csv.ParseOptions(
                delimiter=header.delimiter,
                newlines_in_values=True,
                # In a table of one column a blank line is a row whose cell is missing: it must not vanish.
                ignore_empty_lines=len(header.names) > 1,
            ),
            pyarrow.csv.ConvertOptions(
                column_types=dict(types),
                include_columns=list(columns),
                null_values=_MISSING,
                strings_can_be_null=True,
                true_values=_TRUE,
                false_values=_FALSE,
            ),
        )
    except pa.ArrowException as error:
        # No handler of invalid rows: it is never told of one whose text is not UTF-8.
        if ragged := _RAGGED.match(str(error)):
            number, expected, seen = ragged.groups()
            row = place + (_ragged_row(piece, header) if number is None else int(number))
            raise DataError(
                f"{path}: row {row} ({ROW_NUMBERS}) has {_fields(int(seen))}; expected {expected}, as in the header"
            ) from None
        message = str(error).splitlines()[0]
        if "Empty CSV" in message:
            return []  # blank lines and nothing else
        raise DataError(f"{path}: {_in_words(message, header, place)}") from error
    batches: list[pa.RecordBatch] = table.to_batches()
    return batches


def _fields(count: int) -> str:
    return f"{count} field{'s' if count != 1 else ''}"


def _ragged_row(piece: bytes, header: _Header) -> int:
    import csv

    text = io.StringIO(piece.decode(errors="replace"), newline="")
    rows = (row for row in csv.reader(text, delimiter=header.delimiter) if row)
    return next((number for number, row in enumerate(rows, 1) if len(row) != len(header.names)), 1)


def _in_words(message: str, header: _Header, place: int) -> str:
    """Return Arrow's message in the user's terms."""
    cell = re.search(r"In CSV column #(\d+): (?:Row #(\d+): )?.*invalid UTF8", message)
    if cell:
        row = f", row {place + int(cell[2])} ({ROW_NUMBERS})" if cell[2] else ""
        return f"column {header.names[int(cell[1])]!r}{row}: text that is not UTF-8; expected UTF-8"
    return f"cannot be read as CSV ({message})"
