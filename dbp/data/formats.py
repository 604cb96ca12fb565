"""The formats of table files, by the ending of their names. Readers are imported when a table is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dbp.data.table import Table
from dbp.data.table_file import TableFile
from dbp.errors import DataError


@dataclass(frozen=True)
class Format:
    """How files of one ending are read."""

    ending: str
    module: str  # below dbp.data
    reader: str  # a class with `open`, and `agree` where what files hold decides about their columns
    options: tuple[tuple[str, str], ...] = ()

    def read(self, file: TableFile, learnt: object | None = None) -> Table:
        """Open a table in a file. See `Table.learnt`."""
        table: Table = self._class().open(file, learnt, **dict(self.options))
        return table

    def agree(self, learnt: Sequence[object]) -> Sequence[object]:
        """Return what was learnt of files of one table, each column of one type in all of them."""
        agree = getattr(self._class(), "agree", None)
        return learnt if agree is None else agree(learnt)

    def _class(self) -> Any:  # Any: a class that is named here, so that it can be imported late
        return getattr(import_module(f"dbp.data.{self.module}"), self.reader)


FORMATS = (
    Format(".parquet", "parquet", "ParquetTable"),
    Format(".csv", "csv", "CsvTable"),
    Format(".npz", "npz", "NpzTable"),
)
ENDINGS = tuple(each.ending for each in FORMATS)


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
        raise DataError(f"{name}: {seen}; expected a table that ends in one of {', '.join(ENDINGS)}")
    return found
