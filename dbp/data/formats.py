"""The formats of table files, by the ending of their names. Readers are imported when a table is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from dbp.data.file_checks import FileCheck
from dbp.data.table import Table
from dbp.data.table_file import TableFile
from dbp.data.text_scan import TextScan
from dbp.errors import DataError


@dataclass(frozen=True)
class Format:
    """How files of one ending are read."""

    ending: str
    module: str  # below dbp.data
    reader: str  # a class with `open`, `agree` where what files hold decides about their columns, `check` where they have checksums
    options: tuple[tuple[str, str], ...] = ()
    packing: str | None = None  # the ending that says how the file is compressed

    def read(self, file: TableFile, learnt: object | None = None) -> Table:
        """Open a table in a file. See `Table.learnt`."""
        table: Table = self._class().open(self._text(file), learnt, **dict(self.options))
        return table

    def scan(self, file: TableFile) -> TextScan | None:
        """Return how others can look through a file; None where a process reads it alone: no text, or none that has ranges.

        DataError for a header that cannot be read.
        """
        if not self.is_text or not file.has_ranges():
            return None
        text = self._text(file)
        rows = self._class().rows(text, **dict(self.options))
        if self.packing is None:
            return TextScan.of(file, rows)
        from dbp.data.packed_scan import PackedScan
        from dbp.data.unpacked import UnpackedFile

        assert isinstance(text, UnpackedFile)
        return PackedScan.of_packed(text, rows)

    def check(self, file: TableFile, learnt: object) -> FileCheck | None:
        """Return how damaged bytes of a file that `learnt` tells of are found; None where nothing tells, or it is too large."""
        found: FileCheck | None = self._class().check(file, learnt) if self.has_checksums else None
        return found

    @property
    def has_checksums(self) -> bool:
        """Whether files can be checked for damaged bytes."""
        return hasattr(self._class(), "check")

    @property
    def is_text(self) -> bool:
        """Whether files are text that others can look through."""
        return hasattr(self._class(), "rows")

    def text_bytes(self, size: int) -> int:
        """Return how many bytes of text are in so many bytes of files, about."""
        if self.packing is None:
            return size
        from dbp.data.unpacked import TEXT_PER_BYTE

        return TEXT_PER_BYTE * size

    def _text(self, file: TableFile) -> TableFile:
        """Return what a file holds: what it unpacks to, where it is compressed."""
        if self.packing is None:
            return file
        from dbp.data.unpacked import UnpackedFile

        return file if isinstance(file, UnpackedFile) else UnpackedFile(file, self.packing)

    def agree(self, learnt: Sequence[object | None]) -> Sequence[object | None]:
        """Return what was learnt of files of one table, each column of one type in all of them."""
        agree = getattr(self._class(), "agree", None)
        if agree is None:
            return learnt
        agreed: Sequence[object] = agree(learnt)
        return agreed

    def _class(self) -> Any:  # Any: a class that is named here, so that it can be imported late
        return getattr(import_module(f"dbp.data.{self.module}"), self.reader)


def _packed(plain: Format) -> tuple[Format, ...]:
    """Return a format, and that of its compressed files."""
    return plain, *(replace(plain, ending=plain.ending + packing, packing=packing) for packing in (".gz", ".zst"))


_TAB = (("delimiter", "\t"),)
FORMATS = (
    Format(".parquet", "parquet", "ParquetTable"),
    *_packed(Format(".csv", "csv", "CsvTable")),
    *_packed(Format(".tsv", "csv", "CsvTable", _TAB)),
    Format(".arrow", "arrow_file", "ArrowTable"),
    Format(".feather", "arrow_file", "ArrowTable"),
    Format(".npz", "npz", "NpzTable"),
    Format(".npy", "npy", "NpyTable"),
    *_packed(Format(".svm", "libsvm", "LibsvmTable")),
    *_packed(Format(".libsvm", "libsvm", "LibsvmTable")),
)
ENDINGS = tuple(each.ending for each in FORMATS)
PLAIN_ENDINGS = tuple(each.ending for each in FORMATS if each.packing is None)


def format_of(name: str) -> Format | None:
    """Return the format that a name's ending means."""
    lower = name.lower()
    return next(
        (each for each in FORMATS if lower.endswith(each.ending) and lower.rpartition("/")[2] != each.ending), None
    )


def require_format(name: str) -> Format:
    """Return the format that a name's ending means. DataError for an ending of none."""
    found = format_of(name)
    if found is None:
        last = name.rstrip("/").rpartition("/")[2]
        ending = last[last.rindex(".") :].lower() if "." in last[1:] else ""
        seen = f"ending {ending!r}" if ending else "no ending"
        raise DataError(
            f"{name}: {seen}; expected a table that ends in one of {', '.join(PLAIN_ENDINGS)} (text also with .gz or .zst)"
        )
    return found
