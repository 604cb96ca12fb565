"""Looking for damaged bytes in files that have checksums: here, or by workers where that is more than a first look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Protocol

from dbp.data import text_scan
from dbp.data.table import Table
from dbp.data.text_scan import Looking


class FileCheck(Protocol):
    """Reads a whole file and compares its checksums. Can be pickled; a `LookTask`."""

    @property
    def path(self) -> str:
        """The file's, for messages."""
        ...

    @property
    def weight(self) -> int:
        """How many bytes are to be read, about."""
        ...

    def __call__(self) -> None:
        """Do it. DataError for damaged bytes."""
        ...


def check_files(
    checks: Sequence[FileCheck | None], looking: Looking | None, path: str, table: Callable[[], Table]
) -> None:
    """Check the files of a table at `path`. DataError for the first one that is damaged.

    `table` returns the table, for the first look before others are asked.
    """
    wanted = [check for check in checks if check is not None]
    total = sum(check.weight for check in wanted)
    if looking is None or total <= text_scan.LEAST_BYTES:
        for check in wanted:
            check()
        return
    looking.first_look(table())
    done = 0
    looking.lookers.told(path, done, total)
    with closing(looking.lookers.results(wanted)) as results:
        for check, _ in zip(wanted, results, strict=True):
            done += check.weight
            looking.lookers.told(path, done, total)
