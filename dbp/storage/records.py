"""Reading small files of record that a stranger may have put there: regular files only, and no more than a stated size.

A pipe under the name of a record would keep its reader waiting for ever, and a device would never end.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path


@contextmanager
def open_record(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading, without waiting. OSError (its words are for people) for anything else."""
    with open(path, "rb", opener=lambda name, _: os.open(name, os.O_RDONLY | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield file


def read_record(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file of at most `most` bytes. OSError (its words are for people) for anything else."""
    with open_record(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EMSGSIZE, f"larger than {most:,} bytes", str(path))
    return data
