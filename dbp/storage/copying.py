"""Copies a file so that the copy appears whole or not at all."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

from dbp.storage.atomic_files import atomic_path, storage_error


def copy_file(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`. StorageError naming the one that cannot be read or written."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(source, "rb"))
        except OSError as error:
            raise storage_error("be read", source, error) from error
        with atomic_path(target) as temporary, open(temporary, "wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
