"""Sparse text in the form of libsvm: ``label index:value index:value ...``, a row in each line, what is not named is 0.

The columns are ``label`` and one for each index, called ``1`` to the largest (or from ``0``, where a row has an index 0). Opening a
file reads it once, for the largest index and where rows are (`text_index`); rows become dense as they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dbp.data.table import BATCH_ROWS, ROW_NUMBERS
from dbp.data.table_file import TableFile
from dbp.data.text_index import MOST_ROW_BYTES, TextIndex, first_line_end, last_line_end
from dbp.data.text_scan import TextRows, TextScan
from dbp.errors import DataError

LABEL = "label"
MOST_COLUMNS = 100_000
_BATCH_BYTES = 16 << 20  # of dense numbers
_NUMBER = rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf|NaN|Inf)"
_ROW = re.compile(rb"[ \t]*+(?:" + _NUMBER + rb")(?:[ \t]++[0-9]{1,9}:(?:" + _NUMBER + rb"))*+[ \t]*+")
_PAIR = re.compile(rb"[0-9]{1,9}:(?:" + _NUMBER + rb")")
_WHOLE = re.compile(rb"[+-]?[0-9]{1,18}")
_TOO_LONG = f"a row of more than {MOST_ROW_BYTES >> 20} MiB; expected shorter ones"


@dataclass(frozen=True)
class LibsvmLearnt:
    """What reading the file once found out."""

    size: int
    first: int  # the index of the first column: 1, or 0
    last: int
    whole: bool  # whether every label is a whole number
    index: TextIndex


@dataclass(frozen=True)
class _Rows:
    """Some rows, sparse: R labels and E entries."""

    labels: list[bytes]
    rows: NDArray[np.int64]  # (E,): of each entry, from 0
    indices: NDArray[np.int64]  # (E,)
    values: NDArray[np.float64]  # (E,)


class LibsvmFacts(NamedTuple):
    """What some rows show: the smallest index, 1 or 0, the largest, and whether every label is a whole number."""

    first: int = 1
    last: int = 0
    whole: bool = True


class LibsvmRows(TextRows):
    """See `TextRows`."""

    begin, too_long = 0, _TOO_LONG

    def last_end(self, text: bytes) -> int:
        """See `TextRows`."""
        return last_line_end(text)

    def first_end(self, text: bytes) -> int:
        """See `TextRows`."""
        return first_line_end(text)

    def starts(self, text: bytes) -> Iterator[int]:
        """See `TextRows`. No line end is anything else."""
        if end := first_line_end(text):
            yield end

    def look(self, piece: bytes, path: str, place: int, facts: LibsvmFacts | None) -> tuple[int, LibsvmFacts]:
        """See `TextRows`."""
        found, facts = _parse(piece, path, place), facts or LibsvmFacts()
        first, last = (int(each) for each in (found.indices.min(initial=1), found.indices.max(initial=0)))
        whole = facts.whole and all(_WHOLE.fullmatch(label) for label in found.labels)
        return len(found.labels), self.merged([facts, LibsvmFacts(first, last, whole)])

    def merged(self, facts: Sequence[LibsvmFacts]) -> LibsvmFacts:
        """See `TextRows`."""
        first, last = min(each.first for each in facts), max(each.last for each in facts)
        return LibsvmFacts(first, last, all(each.whole for each in facts))

    def learnt(self, path: str, size: int, index: TextIndex, facts: LibsvmFacts | None) -> LibsvmLearnt:
        """See `TextRows`. DataError for too many columns."""
        first, last, whole = LibsvmFacts() if facts is None else facts
        if last - first >= MOST_COLUMNS:
            raise DataError(
                f"{path}: has an index {last}; expected at most {MOST_COLUMNS:,} columns, which are made dense"
            )
        return LibsvmLearnt(size, first, last, whole, index)


class LibsvmTable:
    """See `Table`. Features are float64; labels int64 where all are whole numbers, else float64."""

    def __init__(self, source: TableFile, learnt: LibsvmLearnt) -> None:
        self._source, self._learnt = source, learnt
        self.path = source.path
        self.row_count = learnt.index.row_count
        features = [(str(index), pa.float64()) for index in range(learnt.first, learnt.last + 1)]
        self.schema = pa.schema([(LABEL, pa.int64() if learnt.whole else pa.float64()), *features])

    @classmethod
    def open(cls, source: TableFile, learnt: object | None = None) -> LibsvmTable:
        """Read the file once, unless it is `learnt`. DataError names the first row that cannot be read."""
        if isinstance(learnt, LibsvmLearnt):
            source.require_size(learnt.size)
            return cls(source, learnt)
        return cls.open(source, TextScan.of(source, cls.rows(source)).here())

    @classmethod
    def rows(cls, source: TableFile) -> LibsvmRows:
        """Return what is in a file."""
        return LibsvmRows()

    @staticmethod
    def agree(learnt: Sequence[LibsvmLearnt]) -> Sequence[LibsvmLearnt]:
        """Return what was learnt of files of one table, with as many columns in each as all of them need."""
        first, last = min(each.first for each in learnt), max(each.last for each in learnt)
        whole = all(each.whole for each in learnt)
        return [replace(each, first=first, last=last, whole=whole) for each in learnt]

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`. DataError where the rows are not those that were there when the file was first read."""
        width = self._learnt.last + 1 - self._learnt.first
        many = min(max(_BATCH_BYTES // (8 * max(width, 1)), 1), BATCH_ROWS)
        for place, piece in self._learnt.index.read(self._source, start, stop):
            found = _parse(piece, self.path, place)
            low, high = max(start - place, 0), min(stop - place, len(found.labels))
            for first in range(low, high, many):
                yield self._dense(found, first, min(first + many, high), columns)

    def _dense(self, found: _Rows, start: int, stop: int, columns: Sequence[str]) -> pa.RecordBatch:
        inside = slice(*np.searchsorted(found.rows, (start, stop)))
        # By column, so that each is contiguous.
        dense = np.zeros((self._learnt.last + 1 - self._learnt.first, stop - start))
        dense[found.indices[inside] - self._learnt.first, found.rows[inside] - start] = found.values[inside]
        arrays = []
        for name in columns:
            if name == LABEL:
                texts = found.labels[start:stop]
                kind = np.int64 if self._learnt.whole else np.float64
                arrays.append(
                    pa.array(np.array([int(text) if self._learnt.whole else float(text) for text in texts], dtype=kind))
                )
            else:
                arrays.append(pa.array(dense[int(name) - self._learnt.first]))
        return pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def has_ranges(self) -> bool:
        """See `Table`."""
        return self._source.has_ranges()

    def fingerprint(self) -> str:
        """See `Table`."""
        return self._source.fingerprint()

    def learnt(self) -> LibsvmLearnt:
        """See `Table`."""
        return self._learnt

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """See `Table`. The text, its words, and one batch of dense rows, twice."""
        return 40 * self._learnt.index.largest_piece + 2 * _BATCH_BYTES


def _parse(piece: bytes, path: str, place: int) -> _Rows:
    """Return the rows of a piece of the file that begins with row `place`, from 0. Blank lines and comments (#) are no rows."""
    if b"#" in piece:
        piece = re.sub(rb"#[^\r\n]*+", b"", piece)
    lines = [line for line in piece.splitlines() if line.strip()]
    for number, line in enumerate(lines, start=place + 1):
        if not _ROW.fullmatch(line):
            raise DataError(f"{path}: row {number} ({ROW_NUMBERS}): {_why(line)}")
    counts = np.array([line.count(b":") for line in lines], dtype=np.int64)
    words = piece.replace(b":", b" ").split()
    starts = np.concatenate([[0], np.cumsum(1 + 2 * counts)[:-1]]).astype(np.int64) if lines else np.empty(0, np.int64)
    entries = np.ones(len(words), dtype=bool)
    entries[starts] = False
    pairs = (
        np.array(words, dtype=np.bytes_)[entries].reshape(-1, 2) if len(words) > len(lines) else np.empty((0, 2), "S1")
    )
    rows = np.repeat(np.arange(len(lines)), counts)
    indices, values = pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.float64)
    _require_once(rows, indices, path, place)
    return _Rows([words[start] for start in starts], rows, indices, values)


def _require_once(rows: NDArray[np.int64], indices: NDArray[np.int64], path: str, place: int) -> None:
    order = np.lexsort((indices, rows))
    again = (np.diff(rows[order]) == 0) & (np.diff(indices[order]) == 0)
    if again.any():
        entry = order[1:][again][0]
        raise DataError(
            f"{path}: row {place + rows[entry] + 1} ({ROW_NUMBERS}): the index {indices[entry]} is there twice; expected it once"
        )


def _why(line: bytes) -> str:
    """Return what is wrong with a row."""
    words = line.split()
    if not re.fullmatch(_NUMBER, words[0]):
        shown = words[0][:40].decode(errors="replace")
        return f"{shown!r}; expected a number as the label at the start of the row"
    wrong = next((word for word in words[1:] if not _PAIR.fullmatch(word)), b"")
    shown = wrong[:40].decode(errors="replace")
    if wrong.startswith(b"qid:"):
        return f"{shown!r}: groups of a ranking are not known here; expected index:value"
    return f"{shown!r}; expected index:value, two numbers"
