"""A table of many files: those of a folder or pattern, one after the other in the order of their relative paths.

Opening it reads what each file's format keeps of metadata. A process that was told what that was (`learnt`) opens only the files
that hold the rows it needs. Folders called ``key=value`` add columns (Hive's way).
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate

import pyarrow as pa

from dbp.data import text_scan
from dbp.data.file_checks import check_files
from dbp.data.file_set import FileSet
from dbp.data.formats import Format
from dbp.data.partitions import Value, key_columns
from dbp.data.table import BATCH_ROWS, WHOLE_BYTES, Table, describe_missing
from dbp.data.table_file import TableFile
from dbp.data.text_scan import Looking, TextScan, is_large, look_through
from dbp.errors import DataError
from dbp.storage.uris import is_remote, local_path

_MOST_OPEN = 16
_OPENED_AT_ONCE = 8  # at a store, where each takes a few round trips
_EDGE_BYTES = 64 << 20  # of all files together
_LEAST_EDGE_BYTES = 64 << 10


@dataclass(frozen=True)
class Opened:
    """What opening one file found out."""

    schema: pa.Schema
    rows: int
    reading_bytes: int  # of all columns
    learnt: object | None


@dataclass(frozen=True)
class Member:
    """One file."""

    name: str
    opened: Opened
    keys: tuple[Value, ...]  # of the partition columns


@dataclass(frozen=True)
class Learnt:
    """All that opening found out; small, and the same for every process."""

    files: FileSet
    members: tuple[Member, ...]
    schema: pa.Schema  # of the files
    keys: pa.Schema  # the partition columns

    def for_any_folder(self) -> Learnt:
        """Return this for a process that works in another folder of this machine, or of one that sees the same files."""
        if is_remote(self.files.root):
            return self
        return replace(self, files=replace(self.files, root=os.path.abspath(local_path(self.files.root or "."))))


FileOf = Callable[[str], TableFile]


class ManyFiles:
    """See `Table`. Row numbers go through all files."""

    def __init__(self, learnt: Learnt, form: Format, file_of: FileOf) -> None:
        self._learnt, self._format, self._file_of = learnt, form, file_of
        self.path = learnt.files.path
        self.schema = pa.schema([*learnt.schema, *learnt.keys])
        self._first_rows = list(accumulate((member.opened.rows for member in learnt.members), initial=0))
        self.row_count = self._first_rows[-1]
        self._open: OrderedDict[int, Table] = OrderedDict()

    @classmethod
    def open(
        cls,
        files: FileSet,
        form: Format,
        file_of: FileOf,
        learnt: object | None = None,
        looking: Looking | None = None,
    ) -> ManyFiles:
        """Read the metadata of all files, unless they are `learnt`. DataError names the file and column that differ.

        `looking` is who looks through large files.
        """
        if isinstance(learnt, Learnt):
            return cls(learnt, form, file_of)
        keys, values = key_columns(files)
        scans = None if looking is None else _scans(files, form, file_of)
        if looking is not None and scans is not None:
            name = files.names[0]
            table = form.read(scans[0].source, scans[0].first_look())
            member = Member(name, _opened(table), values[name])
            looking.first_look(cls(Learnt(files, (member,), member.opened.schema, keys), form, file_of))
            ranges = look_through(scans, looking.lookers, files.path)
            opened = _agreed(
                files,
                form,
                file_of,
                [_opened(form.read(each.source, learnt)) for each, learnt in zip(scans, ranges, strict=True)],
            )
        else:
            opened = _look_at(files, form, file_of)
        schema = opened[0].schema
        for name, other in zip(files.names, opened, strict=True):
            _require_same(files, schema, name, other.schema)
        for key in keys.names:
            if key in schema.names:
                raise DataError(
                    f"{files.full(files.names[0])}: {key!r} is a column, and a key in the names of the folders; "
                    "expected one or the other"
                )
        members = (Member(name, each, values[name]) for name, each in zip(files.names, opened, strict=True))
        table = cls(Learnt(files, tuple(members), schema, keys), form, file_of)
        if form.has_checksums:
            found = zip(files.names, opened, strict=True)
            checks = [form.check(file_of(files.full(name)), each.learnt) for name, each in found]
            check_files(checks, looking, files.path, lambda: table)
        return table

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths or URIs of the files, in the order of their rows."""
        return tuple(self._learnt.files.full(member.name) for member in self._learnt.members)

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table`. Only the files that hold the rows are opened."""
        start, stop = max(start, 0), min(stop, self.row_count)
        inside = [name for name in columns if name in self._learnt.schema.names]
        number = bisect_right(self._first_rows, start) - 1
        while start < stop:
            first, end = self._first_rows[number], min(self._first_rows[number + 1], stop)
            if start < end:
                for rows in self._rows_of(number, start - first, end - first, inside):
                    yield self._with_keys(number, rows, columns)
                start = end
            number += 1

    def _rows_of(self, number: int, start: int, stop: int, columns: list[str]) -> Iterator[pa.RecordBatch | int]:
        """Yield rows of one file; where none of its columns are asked for, how many."""
        if columns:
            yield from self._member(number).batches(start, stop, columns)
            return
        for first in range(start, stop, BATCH_ROWS):
            yield min(BATCH_ROWS, stop - first)

    def _with_keys(self, number: int, rows: pa.RecordBatch | int, columns: Sequence[str]) -> pa.RecordBatch:
        count = rows if isinstance(rows, int) else rows.num_rows
        arrays = []
        for name in columns:
            if name in self._learnt.keys.names:
                place = self._learnt.keys.get_field_index(name)
                value = pa.scalar(self._learnt.members[number].keys[place], self._learnt.keys.field(place).type)
                arrays.append(pa.repeat(value, count))
            else:
                assert not isinstance(rows, int)
                arrays.append(rows.column(name))
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([self.schema.field(name) for name in columns]))

    def _member(self, number: int) -> Table:
        table = self._open.pop(number, None)
        if table is None:
            member = self._learnt.members[number]
            table = self._format.read(self._file(member), member.opened.learnt)
            if table.row_count != member.opened.rows or not table.schema.equals(self._learnt.schema):
                raise DataError(
                    f"{table.path}: has {table.row_count} rows and the columns {_types(table.schema)}; it had "
                    f"{member.opened.rows} rows and {_types(self._learnt.schema)} when the job began"
                )
        self._open[number] = table
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return table

    def _file(self, member: Member) -> TableFile:
        return self._file_of(self._learnt.files.full(member.name))

    @property
    def first_rows(self) -> Sequence[int]:
        """The number of each file's first row, from 0, and how many rows there are."""
        return self._first_rows

    def has_ranges(self) -> bool:
        """See `Table`. Its files are of one kind."""
        return self._member(0).has_ranges()

    def fingerprint(self) -> str:
        """See `Table`. Over the names and contents of all files; over 256 MiB in all, of each file's size and its ends."""
        files = [(member, self._file(member)) for member in self._learnt.members]
        total = sum(file.size() for _, file in files)
        edge = None if total <= WHOLE_BYTES else max(_EDGE_BYTES // len(files), _LEAST_EDGE_BYTES)
        digest = hashlib.sha256()
        for member, file in files:
            digest.update(f"{len(member.name.encode())}:{member.name}:{file.fingerprint(edge)}\n".encode())
        return digest.hexdigest()

    def learnt(self) -> Learnt:
        """See `Table`."""
        return self._learnt

    def reading_bytes(self, columns: Sequence[str]) -> int:
        """See `Table`. What the file takes that takes most."""
        number = max(range(len(self._learnt.members)), key=lambda each: self._learnt.members[each].opened.reading_bytes)
        return self._member(number).reading_bytes([name for name in columns if name in self._learnt.schema.names])


def _look_at(files: FileSet, form: Format, file_of: FileOf) -> list[Opened]:
    """Open every file once; the error is that of the first file that has one."""
    with _at_once(files) as pool:
        opened = list(pool.map(lambda name: _opened(form.read(file_of(files.full(name)))), files.names))
    return _agreed(files, form, file_of, opened)


def _scans(files: FileSet, form: Format, file_of: FileOf) -> list[TextScan] | None:
    """Return how others can look through all files; None where that is not worthwhile, or cannot be."""
    if not form.is_text:
        return None
    with _at_once(files) as pool:
        opened = list(pool.map(lambda name: file_of(files.full(name)), files.names))
        if form.text_bytes(sum(pool.map(lambda file: file.size(), opened))) <= text_scan.LEAST_BYTES:
            return None  # nor are the headers read twice
        scans = [scan for scan in pool.map(form.scan, opened) if scan]
    return scans if len(scans) == len(files.names) and is_large(scans) else None


def _at_once(files: FileSet) -> ThreadPoolExecutor:
    """At a store, where each file takes a few round trips, several at once."""
    return ThreadPoolExecutor(_OPENED_AT_ONCE if is_remote(files.root) else 1)


def _opened(table: Table) -> Opened:
    size = table.reading_bytes(table.schema.names)
    return Opened(table.schema.remove_metadata(), table.row_count, size, table.learnt())


def _agreed(files: FileSet, form: Format, file_of: FileOf, opened: list[Opened]) -> list[Opened]:
    """Return what was found out, each column of one type in all files where that is to be decided."""
    found = [each.learnt for each in opened]
    agreed = form.agree(found)
    if agreed is found:
        return opened
    tables = (form.read(file_of(files.full(name)), learnt) for name, learnt in zip(files.names, agreed, strict=True))
    return [
        replace(each, schema=table.schema, learnt=table.learnt()) for each, table in zip(opened, tables, strict=True)
    ]


def _require_same(files: FileSet, schema: pa.Schema, name: str, other: pa.Schema) -> None:
    """Raise DataError unless a file's columns are those of the first, in the same order and of the same types."""
    path, first = files.full(name), files.names[0]
    missing = [column for column in schema.names if column not in other.names]
    if missing:
        raise DataError(
            f"{path}: {describe_missing(missing, other.names)}. {first} has it; expected the same columns in all files"
        )
    more = [column for column in other.names if column not in schema.names]
    if more:
        raise DataError(
            f"{path}: has a column {more[0]!r} that {first} has not; expected the same columns in all files"
        )
    if other.names != schema.names:
        raise DataError(
            f"{path}: has the columns in the order {', '.join(other.names[:12])}, and {first} {', '.join(schema.names[:12])}; "
            "expected the same order in all files"
        )
    for here, there in zip(other, schema, strict=True):
        if here.type != there.type:
            raise DataError(
                f"{path}: column {here.name!r} holds {here.type}, and in {first} {there.type}; expected the same type in all files"
            )


def _types(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)[:200]
