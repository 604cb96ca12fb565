"""Encoded rows in a file instead of memory: written once, shard by shard, and mapped read-only.

The file has no name from the moment it is made, so that nothing is left behind however its process ends. Each shard has a fixed
place in it, of pages that take room on the disk only when they are written; a worker's file holds its own shards. The kernel drops
what was read from memory when memory is wanted, and reads it again from the file.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dbp.data.rows import EncodedRows
from dbp.errors import JobFailedError
from dbp.sums.messages import Part
from dbp.sums.shards import Shards

_PAGE = mmap.ALLOCATIONGRANULARITY
_ALIGNMENT = 64  # bytes; as memory for the kernel has


class RowFile:
    """The file of one worker, in the folder for temporary files (TMPDIR). JobFailedError where it cannot be written."""

    def __init__(self, shards: Mapping[Part, Shards]) -> None:
        self._shards = shards
        self._file: int | None = None
        self._memory: mmap.mmap | None = None
        self._places: dict[Part, int] = {}  # where a part begins
        self._slot: dict[Part, int] = {}  # bytes from shard to shard

    def keep(self, part: Part, shard: int, rows: EncodedRows) -> EncodedRows:
        """Write the rows of a shard; return them as they are in the file, read-only."""
        try:
            memory = self._opened(rows)
            place = self._places[part] + shard * self._slot[part]
            end = place + self._slot[part]
            kept: list[NDArray[Any]] = []
            for array in rows:
                if array is None:
                    continue
                if place + array.nbytes > end:
                    raise RuntimeError(f"shard {shard} of the {part} rows has longer rows than the first that came")
                self._write(array, place)
                kept.append(np.frombuffer(memory, array.dtype, array.size, place).reshape(array.shape))
                place = _aligned(place + array.nbytes, _ALIGNMENT)
        except OSError as error:
            folder = tempfile.tempdir or "the folder for temporary files"
            raise JobFailedError(
                f"{folder}: encoded rows cannot be kept there ({error.strerror or error}), as data.cache: disk asks for; make "
                "room, or set TMPDIR to a folder on another disk, then `dbp resume`"
            ) from error
        return EncodedRows(*kept)

    def _opened(self, rows: EncodedRows) -> mmap.mmap:
        """Lay the file out by the first rows that come: others take as many bytes each."""
        if self._memory is None:
            row = sum(-(-array.nbytes // len(array)) for array in rows if array is not None)
            size = 0
            for part, shards in self._shards.items():
                longest = -(-shards.rows // shards.count)
                self._slot[part] = _aligned(longest * row + len(rows) * _ALIGNMENT, _PAGE)
                self._places[part] = size
                size += shards.count * self._slot[part]
            with tempfile.TemporaryFile(prefix="dbp-rows-", buffering=0) as file:
                self._file = os.dup(file.fileno())
            os.ftruncate(self._file, size)
            self._memory = mmap.mmap(self._file, size, access=mmap.ACCESS_READ)
        return self._memory

    def _write(self, array: NDArray[Any], place: int) -> None:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        assert self._file is not None
        while data:
            written = os.pwrite(self._file, data[: 64 << 20], place)
            data, place = data[written:], place + written

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)


def _aligned(size: int, to: int) -> int:
    return -(-size // to) * to
