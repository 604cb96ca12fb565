"""The one place that picks how a table is read: one file, or the files of a folder or pattern, by the ending of their names."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from dbp.data.file_checks import check_files
from dbp.data.formats import ENDINGS, format_of, require_format
from dbp.data.table import Table
from dbp.data.table_file import LocalFile, TableFile
from dbp.data.text_scan import Looking, is_large, look_through
from dbp.errors import DataError
from dbp.storage.uris import is_remote, local_path, split_pattern


def open_table(path: str | Path, learnt: object | None = None, looking: Looking | None = None) -> Table:
    """Open a table, at a path or URI. DataError when it is missing, empty, of no known kind, or damaged.

    `learnt` is what another process learnt by opening the same table (`Table.learnt`). `looking` is who looks through a large one
    whose format says too little; without, this process does. StorageError where a URI's store cannot be asked.
    """
    text = str(path)
    many = learnt is not None and _is_of_many_files(learnt)
    file = None if many or split_pattern(text)[1] is not None else _remote(text) if is_remote(text) else _local(text)
    if file is None:
        return _open_many(text, learnt, looking)
    form = require_format(text)
    if learnt is None and looking is not None and (scan := form.scan(file)) is not None and is_large([scan]):
        looking.first_look(form.read(file, scan.first_look()))
        (learnt,) = look_through([scan], looking.lookers, text)
    table = form.read(file, learnt)
    if learnt is None:
        check_files([form.check(file, table.learnt())], looking, text, lambda: table)
    return table


def _is_of_many_files(learnt: object) -> bool:
    from dbp.data.many_files import Learnt

    return isinstance(learnt, Learnt)


def _local(text: str) -> TableFile | None:
    """Return a file of this machine, None for a folder."""
    place = local_path(text)
    file = LocalFile(place, text)
    try:
        if os.path.isdir(place):
            return None
        require_format(text)
        file.require()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{text}: no such file{_near(place)}") from None
    return file


def _remote(text: str) -> TableFile | None:
    """Return a file at a URI, None for a folder."""
    from dbp.data.file_set import names_many
    from dbp.data.remote_file import RemoteFile
    from dbp.storage.folder import MissingFileError

    if format_of(text) is None:
        if names_many(text):
            return None
        require_format(text)
    file = RemoteFile(text)
    try:
        file.require()
    except MissingFileError:
        if names_many(text):
            return None
        near = file.near()
        raise DataError(f"{text}: no such file{'' if near is None else _among(file.name, near)}") from None
    return file


def _open_many(text: str, learnt: object | None, looking: Looking | None) -> Table:
    from dbp.data.file_set import find_files
    from dbp.data.many_files import Learnt, ManyFiles

    files = learnt.files if isinstance(learnt, Learnt) else find_files(text)
    found = {name: format_of(name) for name in files.names}
    first = files.names[0]
    for name, form in found.items():
        if form is None:
            raise DataError(
                f"{files.full(name)}: is no table, and lies among those of {text}; expected tables only, or a pattern such as "
                f"{files.root}/*.parquet"
            )
        if form != found[first]:
            raise DataError(
                f"{files.full(name)}: is {form.ending}, and {first} is {require_format(first).ending}; expected files of one kind, "
                f"or a pattern such as {files.root}/*{require_format(first).ending}"
            )
    return ManyFiles.open(files, require_format(first), _file_of, learnt, looking)


def _file_of(text: str) -> TableFile:
    """Return one file of many. DataError where it is empty or cannot be read."""
    if is_remote(text):
        from dbp.data.remote_file import RemoteFile

        remote = RemoteFile(text)
        remote.require()
        return remote
    file = LocalFile(local_path(text), text)
    try:
        file.require()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{text}: is gone; it was there when the job began") from None
    return file


def _near(place: Path) -> str:
    try:
        names = os.listdir(place.parent)
    except OSError:
        return f" (there is no folder {place.parent} either)"
    return _among(place.name, names)


def _among(name: str, names: list[str]) -> str:
    tables = [each for each in names if each.lower().endswith(ENDINGS)]
    near = difflib.get_close_matches(name, tables, n=3, cutoff=0.5)
    return (
        f"; did you mean {' or '.join(near)}?"
        if near
        else f"; tables in that folder: {', '.join(tables[:8]) or 'none'}"
    )
