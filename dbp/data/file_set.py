"""The files that a folder or a pattern names, in the order of their relative paths. Only names are looked at."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from dbp.errors import DataError
from dbp.storage.remote import RemoteFolder
from dbp.storage.uris import is_remote, local_path, parent_and_name, parse_uri, split_pattern


@dataclass(frozen=True)
class FileSet:
    """Files below a folder. `names` are relative to `root`, with slashes, sorted by code points."""

    path: str  # as the user wrote it
    root: str
    names: tuple[str, ...]

    def full(self, name: str) -> str:
        """Return the path or URI of one of them."""
        return f"{self.root.rstrip('/')}/{name}" if self.root else name


def find_files(text: str) -> FileSet:
    """Return the files below a folder, or those that a pattern matches. DataError where there are none, StorageError.

    Names that begin with ``_`` or ``.`` are passed over, files and folders alike, unless the pattern spells that character:
    other tools leave their notes in such. In a pattern ``*`` and ``?`` match within a name, ``**`` any folders.
    """
    root, pattern = split_pattern(text)
    matches = _matcher(pattern)
    depth = None if pattern is None or "**" in pattern.split("/") else pattern.count("/") + 1
    everything = sorted(_below_remote(root) if is_remote(root) else _below_local(text, local_path(root or "."), depth))
    names = tuple(name for name in everything if matches(name))
    if not names:
        raise DataError(f"{text}: {_nothing(root, pattern, everything)}")
    return FileSet(text, root, names)


def names_many(text: str) -> bool:
    """Whether a path or URI is a folder or a pattern rather than a file. StorageError where a store cannot be asked."""
    if split_pattern(text)[1] is not None:
        return True
    if not is_remote(text):
        return os.path.isdir(local_path(text))
    uri = parse_uri(text, web=True)
    if uri.is_web or not uri.key:
        return not uri.is_web
    folder, name = parent_and_name(text)
    here = RemoteFolder(parse_uri(folder))
    return not here.exists(name) and bool(here.child(name).names())


def _nothing(root: str, pattern: str | None, everything: list[str]) -> str:
    there = ", ".join(everything[:8]) + (", ..." if len(everything) > 8 else "") if everything else "no file"
    if pattern is None:
        return f"the folder holds no tables (there is {there}); expected table files in it"
    return f"no file matches; below {root or '.'} there is {there}"


def _matcher(pattern: str | None) -> Callable[[str], bool]:
    if pattern is None:
        return lambda name: not any(part[0] in "_." for part in name.split("/"))
    parts = pattern.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise DataError(f"{pattern}: expected a pattern without empty parts, '.' and '..', such as data/*.parquet")
    rules = [None if part == "**" else re.compile(translate(part)) for part in parts]
    shown = [part[0] in "_." for part in parts]

    def match(names: list[str], at: int) -> bool:
        if at == len(rules):
            return not names
        rule = rules[at]
        if rule is None:
            return match(names, at + 1) or bool(names and names[0][0] not in "_." and match(names[1:], at))
        return bool(
            names and rule.match(names[0]) and (shown[at] or names[0][0] not in "_.") and match(names[1:], at + 1)
        )

    return lambda name: match(name.split("/"), 0)


def _below_local(text: str, root: Path, depth: int | None) -> Iterator[str]:
    """Yield the files below a folder, links followed, no deeper than `depth` names."""

    def fail(error: OSError) -> None:
        raise DataError(
            f"{text}: {error.filename}: cannot be looked into ({error.strerror}); expected a folder of tables"
        )

    if not root.is_dir():
        raise DataError(f"{text}: there is no folder {root}")
    seen: set[tuple[int, int]] = set()
    for folder, inner, files in os.walk(root, onerror=fail, followlinks=True):
        facts = os.stat(folder)
        if (facts.st_dev, facts.st_ino) in seen:
            raise DataError(f"{text}: the folder {folder} is met twice, by a link; its rows would count twice")
        seen.add((facts.st_dev, facts.st_ino))
        above = "" if folder == str(root) else f"{Path(folder).relative_to(root).as_posix()}/"
        if depth is not None and above.count("/") + 1 >= depth:
            inner.clear()
        for name in files:
            if any("\ud800" <= character <= "\udfff" for character in above + name):
                raise DataError(f"{text}: the name {above + name!a} is not text in UTF-8; expected names that are")
            yield above + name


def _below_remote(root: str) -> list[str]:
    return RemoteFolder(parse_uri(root)).names_below()
