"""The one place that picks how a table is read: by the ending of its name."""

from __future__ import annotations

import os
from pathlib import Path

from dbp.data.table import Table
from dbp.errors import DataError

ENDINGS = (".parquet", ".csv", ".npz")


def open_table(path: str | Path) -> Table:
    """Open a table file. DataError when it is missing, empty, of no known kind, or damaged."""
    text = str(path)
    if "://" in text:
        raise DataError(f"{text}: URIs are not supported yet; expected the path of a local file")
    place = Path(text)
    ending = place.suffix.lower()
    if ending not in ENDINGS:
        seen = f"ending {ending!r}" if ending else "no ending"
        raise DataError(f"{text}: {seen}; expected a table that ends in one of {', '.join(ENDINGS)}")
    try:
        size = place.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{text}: no such file{_near(place)}") from None
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be looked into
        raise DataError(
            f"{text}: cannot be read ({getattr(error, 'strerror', None) or error}); expected a file"
        ) from error
    if place.is_dir():
        raise DataError(f"{text}: is a folder; expected a file")
    if not os.access(place, os.R_OK):
        raise DataError(f"{text}: permission denied; expected a file that can be read")
    if size == 0:
        raise DataError(f"{text}: the file is empty; expected a table")
    if ending == ".parquet":
        from dbp.data.parquet import ParquetTable

        return ParquetTable.open(place, text)
    if ending == ".csv":
        from dbp.data.csv import CsvTable

        return CsvTable.open(place, text)
    from dbp.data.npz import NpzTable

    return NpzTable.open(place, text)


def _near(place: Path) -> str:
    import difflib

    try:
        names = [name for name in os.listdir(place.parent) if name.lower().endswith(ENDINGS)]
    except OSError:
        return f" (there is no folder {place.parent} either)"
    near = difflib.get_close_matches(place.name, names, n=3, cutoff=0.5)
    return (
        f"; did you mean {' or '.join(near)}?" if near else f"; tables in that folder: {', '.join(names[:8]) or 'none'}"
    )
