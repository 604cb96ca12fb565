"""Looking through text tables, once, for what they say nowhere: where rows are, and what their columns hold.

A file is cut into ranges of fixed length, and a range has the rows that begin in it. Where the first of them begins is certain only
when the range before has been looked through: a line end may stand inside quotes. So whoever looks at a range out of order guesses,
and who puts the ranges together checks that each begins where the one before it ended, and has it looked through again where
not, or where it could not be read, now with the right row numbers. What comes out is the same whoever looks, and in what order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, TypeVar

from dbp.data import text_index
from dbp.data.table import Table
from dbp.data.table_file import TableFile
from dbp.data.text_index import IndexBuilder, TextIndex, joined
from dbp.errors import DataError

RANGE_BYTES = 8 << 20
LEAST_BYTES = text_index.PIECE_BYTES  # up to so much is looked through here: for the first look it is read anyway
_TAIL_BYTES = 1 << 16  # read at first beyond a range, for the end of its last row


class TextRows(ABC):
    """What rows are in a text format, and what is to be learnt from them. Can be pickled."""

    begin: int  # where the first row begins in the file
    too_long: str  # words for a row of more than MOST_ROW_BYTES

    @abstractmethod
    def last_end(self, text: bytes) -> int:
        """Return how many bytes of a text that begins at a row's start are whole rows, 0 for none."""

    @abstractmethod
    def first_end(self, text: bytes) -> int:
        """Return how many bytes the first row of a text that begins at its start has, 0 where it is not whole."""

    @abstractmethod
    def starts(self, text: bytes) -> Iterator[int]:
        """Yield guesses, the likeliest first, of where the first row begins in a text after its first byte."""

    @abstractmethod
    def look(self, piece: bytes, path: str, place: int, facts: Any | None) -> tuple[int, Any]:
        """Return how many rows a piece has, and `facts` (None: of no row yet) with what they add. DataError.

        `place` is the number of its first row, from 0.
        """

    def check_last(self, piece: bytes, path: str, rows: int) -> None:  # noqa: B027 -- most formats need no more
        """Raise DataError where the last piece, which ends in no line end, is cut off. `rows` are those of the file."""

    @abstractmethod
    def merged(self, facts: Sequence[Any]) -> Any:
        """Return the facts of rows of which some have these facts, and others those."""

    @abstractmethod
    def learnt(self, path: str, size: int, index: TextIndex, facts: Any | None) -> object:
        """Return what a reader of the format takes for learnt. DataError where that makes no table."""


@dataclass(frozen=True)
class RangeFound:
    """What is in a range. Its rows are counted from 0."""

    index: TextIndex
    facts: Any | None

    @property
    def start(self) -> int:
        """Where the first row began."""
        return int(self.index.offsets[0])

    @property
    def end(self) -> int:
        """Where the last row ended."""
        return int(self.index.offsets[-1])


@dataclass(frozen=True)
class RangeTask:
    """Look through the rows that begin in bytes [start, stop) of a file. Can be pickled; calling it does it."""

    source: TableFile
    size: int  # of the file
    rows: TextRows
    start: int
    stop: int
    place: int | None  # the number of the row that begins at `start`, from 0; None: it is not known whether one does

    @property
    def path(self) -> str:
        """The path of the file, for messages."""
        return self.source.path

    def __call__(self) -> RangeFound | None:
        """Return what is found; None where `place` is None, and no guess leads to rows that can be read. DataError."""
        if self.place is not None:
            return self._found(self.start, self.place)
        try:
            start = self._guess()
            return None if start is None else self._found(start, 0)
        except DataError:
            return None

    def first_piece(self) -> RangeFound:
        """Return what is in the first piece alone of a range whose start is known. DataError."""
        return self._found(self.start, self.place or 0, 1)

    def _guess(self) -> int | None:
        """Return where the first row begins, by the first guess after which rows can be read; None: at no place in this range."""
        with self.source.open_ranges() as file:
            file.seek(self.start - 1)
            text = file.read(min(text_index.PIECE_BYTES, self.size - self.start + 1))
        for start in self.rows.starts(text):
            piece = text[start:]
            try:
                self.rows.look(piece[: self.rows.last_end(piece)], self.source.path, 0, None)
            except DataError:
                continue
            return self.start - 1 + start if self.start - 1 + start < self.stop else None
        return None

    def _found(self, start: int, place: int, pieces: int | None = None) -> RangeFound:
        builder, facts, path = IndexBuilder(start), None, self.source.path
        for piece, is_last in islice(self._pieces(start), pieces):
            rows, facts = self.rows.look(piece, path, place + builder.rows, facts)
            builder.add(piece, rows)
            if is_last:
                self.rows.check_last(piece, path, place + builder.rows)
        return RangeFound(builder.index(), facts)

    def _pieces(self, start: int) -> Iterator[tuple[bytes, bool]]:
        """Yield the range in pieces that end at a row's end, and whether it is the file's last and ends in no line end."""
        with self.source.open_ranges() as file:
            file.seek(start)
            at, rest, wanted = start, b"", text_index.PIECE_BYTES
            while at < self.stop or (rest and at < self.size):
                inside = at < self.stop
                more = file.read(min(wanted, (self.stop if inside else self.size) - at))
                if not more:
                    raise DataError(_changed(self.source.path, at, self.size))
                at, text = at + len(more), rest + more
                end = self.rows.last_end(text) if inside else self.rows.first_end(text)
                if end:
                    yield text[:end], False
                    if not inside:
                        return
                elif len(text) > text_index.MOST_ROW_BYTES:
                    raise DataError(f"{self.source.path}: {self.rows.too_long}")
                rest = text[end:]
                # After a long row twice as much: it is not looked through once for each piece of it.
                wanted = text_index.PIECE_BYTES if end else len(text)
                if at == self.stop:
                    wanted = min(wanted, _TAIL_BYTES)
            if rest:
                yield rest, True


@dataclass(frozen=True)
class TextScan:
    """A file that is to be looked through."""

    source: TableFile
    size: int
    rows: TextRows

    @classmethod
    def of(cls, source: TableFile, rows: TextRows) -> TextScan:
        """Return that of a file as it is now."""
        return cls(source, source.size(), rows)

    @property
    def weight(self) -> int:
        """How many bytes are to be looked through, about."""
        return max(self.size - self.rows.begin, 0)

    def tasks(self) -> Sequence[RangeTask]:
        """Return what is to be done, in the order of the file. The first range begins with a row."""
        starts = range(self.rows.begin, self.size, RANGE_BYTES)
        return [
            RangeTask(
                self.source, self.size, self.rows, start, min(start + RANGE_BYTES, self.size), None if number else 0
            )
            for number, start in enumerate(starts)
        ]

    def first_look(self) -> object:
        """Return what the first piece of the file alone would teach. DataError."""
        return self._learnt([task.first_piece() for task in self.tasks()[:1]])

    def here(self) -> object:
        """Look through the file in this process, one range after the other; return what is learnt. DataError."""
        # No range is looked through before its start is certain, so that none is twice.
        return self.put_together(iter([None] * len(self.tasks())), lambda task: task(), lambda done: None)

    def put_together(self, results: Iterator[RangeFound | None], again: Again, told: Callable[[int], None]) -> object:
        """Return what is learnt, of the results of all tasks in order. DataError for the first row that cannot be read.

        `again` looks through a range whose start is certain now; `told` hears how many bytes are done.
        """
        found: list[RangeFound] = []
        end, place = self.rows.begin, 0
        for task in self.tasks():
            result = next(results)
            if end < task.stop:  # else a row that began before goes on beyond
                if result is None or result.start != end:
                    result = again(replace(task, start=end, place=place))
                assert result is not None
                found.append(result)
                end, place = result.end, place + result.index.row_count
            told(task.stop)
        require_same_size(self.source, self.size)
        return self._learnt(found)

    def _learnt(self, found: Sequence[RangeFound]) -> object:
        index = joined([each.index for each in found]) if found else IndexBuilder(self.rows.begin).index()
        facts = [each.facts for each in found if each.facts is not None]
        size = self._text_size(index)
        return self.rows.learnt(self.source.path, size, index, self.rows.merged(facts) if facts else None)

    def _text_size(self, index: TextIndex) -> int:
        return self.size


Answer = TypeVar("Answer")
Found = TypeVar("Found", covariant=True)
Again = Callable[[RangeTask], RangeFound | None]


class LookTask(Protocol[Found]):
    """Something to be done with a large table. Can be pickled."""

    @property
    def path(self) -> str:
        """The table's, for messages."""
        ...

    def __call__(self) -> Found:
        """Do it. DataError."""
        ...


class Lookers(Protocol):
    """Those who look through large tables."""

    def results(self, tasks: Sequence[LookTask[Answer]]) -> Generator[Answer]:
        """Yield what each task returns, in their order. Raises what a task raises. Closed where no more are wanted."""
        ...

    def told(self, path: str, done: int, total: int) -> None:
        """Hear how many bytes of a table have been looked through; 0 before any are asked for."""
        ...


@dataclass(frozen=True)
class Looking:
    """Who looks through a large table, and who hears beforehand of a table that is but its first rows, and may raise."""

    lookers: Lookers
    first_look: Callable[[Table], None]


def is_large(scans: Sequence[TextScan]) -> bool:
    """Whether others are to look through files."""
    return sum(scan.weight for scan in scans) > LEAST_BYTES


def look_through(scans: Sequence[TextScan], lookers: Lookers, path: str) -> list[object]:
    """Have files of one table looked through; return what is learnt of each. DataError for the first row that cannot be read."""
    total, before, learnt = sum(scan.size for scan in scans), 0, []
    lookers.told(path, 0, total)
    with closing(lookers.results([task for scan in scans for task in scan.tasks()])) as results:
        for scan in scans:

            def told(done: int, before: int = before) -> None:
                lookers.told(path, before + done, total)

            learnt.append(scan.put_together(results, lambda task: next(lookers.results([task])), told))
            before += scan.size
    return learnt


def require_same_size(source: TableFile, size: int) -> None:
    """Raise DataError where a file is not as large as when reading it began."""
    if source.size() != size:
        raise DataError(_changed(source.path, source.size(), size))


def _changed(path: str, seen: int, expected: int) -> str:
    return f"{path}: {seen:,} bytes; it had {expected:,} when reading it began. Is somebody writing it?"
