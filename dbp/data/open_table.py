"""The one place that picks how a table is read: by the ending of its name."""

from __future__ import annotations

import os
from pathlib import Path

from dbp.data.table import Table
from dbp.errors import DataError
from dbp.storage.uris import is_remote, local_path

ENDINGS = (".parquet", ".csv", ".npz")


def open_table(path: str | Path) -> Table:
    """Open a table file, at a path or URI. DataError when it is missing, empty, of no known kind, or damaged.

    StorageError where a URI's store cannot be asked.
    """
    text = str(path)
    if is_remote(text):
        return _open_remote(text)
    place = local_path(text)
    ending = _ending(text)
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


def _ending(text: str) -> str:
    ending = Path(text).suffix.lower()
    if ending not in ENDINGS:
        seen = f"ending {ending!r}" if ending else "no ending"
        raise DataError(f"{text}: {seen}; expected a table that ends in one of {', '.join(ENDINGS)}")
    return ending


def _open_remote(uri: str) -> Table:
    from dbp.data.remote_file import RemoteFile
    from dbp.storage.folder import MissingFileError

    file = RemoteFile(uri)
    ending = _ending(uri)
    try:
        size = file.size()
    except MissingFileError:
        raise DataError(f"{uri}: no such file{_among(file.name, file.near())}") from None
    if size == 0:
        raise DataError(f"{uri}: the file is empty; expected a table")
    if ending == ".parquet":
        from dbp.data.parquet import ParquetTable

        return ParquetTable.open_remote(file)
    if ending == ".csv":
        from dbp.data.csv import CsvTable

        return CsvTable.open_remote(file)
    from dbp.data.npz import NpzTable

    return NpzTable.open_remote(file)


def _near(place: Path) -> str:
    try:
        names = os.listdir(place.parent)
    except OSError:
        return f" (there is no folder {place.parent} either)"
    return _among(place.name, names)


def _among(name: str, names: list[str]) -> str:
    import difflib

    tables = [each for each in names if each.lower().endswith(ENDINGS)]
    near = difflib.get_close_matches(name, tables, n=3, cutoff=0.5)
    return (
        f"; did you mean {' or '.join(near)}?"
        if near
        else f"; tables in that folder: {', '.join(tables[:8]) or 'none'}"
    )
