"""Folders called ``key=value`` (Hive's way of partitioning): each key is a column with one value per file."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pyarrow as pa

from dbp.data.file_set import FileSet
from dbp.errors import DataError

_NULL = "__HIVE_DEFAULT_PARTITION__"
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")

Value = int | float | str | None


def key_columns(files: FileSet) -> tuple[pa.Schema, dict[str, tuple[Value, ...]]]:
    """Return the columns that the folders' names add, and their values for each file.

    A key whose values all spell whole numbers is int64; all decimal numbers: float64; else text. ``%20`` and the like are unquoted.
    DataError where files have different keys, or one twice.
    """
    pairs = {name: _pairs(name) for name in files.names}
    first = files.names[0]
    keys = [key for key, _ in pairs[first]]
    for name, found in pairs.items():
        here = [key for key, _ in found]
        if len(set(here)) < len(here):
            raise DataError(
                f"{files.full(name)}: the names of its folders give {here} more than once; expected each key once"
            )
        if here != keys:
            raise DataError(
                f"{files.full(name)}: the names of its folders give the keys {_shown(here)}, and those of {first} "
                f"{_shown(keys)}; expected the same key=value folders above all files"
            )
    columns = [_typed([found[place][1] for found in pairs.values()]) for place in range(len(keys))]
    schema = pa.schema([(key, kind) for key, (kind, _) in zip(keys, columns, strict=True)])
    values = {name: tuple(column[row] for _, column in columns) for row, name in enumerate(pairs)}
    return schema, values


def _pairs(name: str) -> list[tuple[str, str]]:
    found = []
    for folder in name.split("/")[:-1]:
        key, equals, value = folder.partition("=")
        if equals and key:
            found.append((unquote(key), value))
    return found


def _typed(spelt: list[str]) -> tuple[pa.DataType, list[Value]]:
    texts = [None if text == _NULL else unquote(text) for text in spelt]
    known = [text for text in texts if text is not None]
    if known and all(_WHOLE.fullmatch(text) for text in known):
        return pa.int64(), [None if text is None else int(text) for text in texts]
    if known and all(_DECIMAL.fullmatch(text) for text in known):
        return pa.float64(), [None if text is None else float(text) for text in texts]
    return pa.string(), list(texts)


def _shown(keys: list[str]) -> str:
    return ", ".join(keys) or "none"
