"""The formats of table files, by the ending of their names. Readers are imported when a table is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from dbp.data.table import Table
from dbp.data.table_file import TableFile
from dbp.data.text_scan import TextScan
from dbp.errors import DataError


@dataclass(frozen=True)
class Format:
    """How files of one ending are read."""

    ending: str
    module: str  # below dbp.data
    reader: str  # a class with `open`, and `agree` where what files hold decides about their columns
    options: tuple[tuple[str, str], ...] = ()
    packing: str | None = None  # the ending that says how the file is compressed

    def read(self, file: TableFile, learnt: object | None = None) -> Table:
        """Open a table in a file. See `Table.learnt`."""
        if self.packing is not None:
            from dbp.data.unpacked import UnpackedFile

            file = UnpackedFile(file, self.packing)
        table: Table = self._class().open(file, learnt, **dict(self.options))
        return table

    def scan(self, file: TableFile) -> TextScan | None:
        """Return how others can look through a file; None where a process reads it alone: no text, or none that has ranges.

        DataError for a header that cannot be read.
        """
        if not self.is_text or not file.has_ranges():
            return None
        return TextScan.of(file, self._class().rows(file, **dict(self.options)))

    @property
    def is_text(self) -> bool:
        """Whether files are text of which ranges can be looked through."""
        return self.packing is None and hasattr(self._class(), "rows")

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
