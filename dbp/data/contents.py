"""What a table held when a run began: rows of a worker that starts later must be rows of the same table.

Workers read their rows when they start, which may be hours after the others did: one that takes a lost one's place, or joins.
A table that somebody wrote anew meanwhile would be learnt from half in its old and half in its new form, and nobody would know.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from dbp.data.table import Table
from dbp.errors import DataError
from dbp.storage.uris import is_remote, local_path

Stamp = tuple[tuple[int, int], ...]  # of each file: bytes, and when it was last written, in nanoseconds


@dataclass(frozen=True)
class Contents:
    """The contents of a table; `stamp` is that of files that are known to have them. None: at a URI, or gone."""

    fingerprint: str
    stamp: Stamp | None

    @classmethod
    def of(cls, table: Table) -> Contents:
        """Return what a table holds now."""
        stamp = _stamp(table)
        return cls(table.fingerprint(), stamp)

    def still_there(self, table: Table) -> Contents:
        """Return this, with the stamp of the file as it is now. DataError where it holds something else.

        Looked at after rows were read: so nothing was written before or while they were. Where only the stamp is another (a copy
        on another machine), the contents are compared; see `file_fingerprint` for large ones. Tables at URIs are not looked at.
        """
        stamp = _stamp(table)
        if stamp in (None, self.stamp):  # where it is gone, rows came from an open file
            return self
        if table.fingerprint() != self.fingerprint:
            raise DataError(
                f"{table.path}: has changed since the run began, so a worker that reads its rows now would learn from other "
                "data than the rest; restore it, then go on with `dbp resume`, or start a new job with `dbp run`"
            )
        return replace(self, stamp=stamp)


def _stamp(table: Table) -> Stamp | None:
    from dbp.data.many_files import ManyFiles

    paths = table.paths if isinstance(table, ManyFiles) else (table.path,)
    if any(map(is_remote, paths)):
        return None
    try:
        found = [os.stat(local_path(path)) for path in paths]
    except OSError:
        return None
    return tuple((status.st_size, status.st_mtime_ns) for status in found)
