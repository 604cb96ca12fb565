"""Memory that two processes of one machine share: one writes, the other reads in place.

It is a file without a name (Linux's memfd), handed over as an open descriptor: nothing is left behind however the processes end,
and nobody else can open it. It grows when a message needs more room; memory is taken when it is first written to.
"""

from __future__ import annotations

import mmap
import os
import sys

import numpy as np

ALIGNMENT = 64  # bytes; a cache line, and the widest vector register

supported = sys.platform == "linux" and hasattr(os, "memfd_create")


class Board:
    """The writer's end."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("dbp")
        self._memory: mmap.mmap | None = None
        self._start = 0  # address of the memory
        self._size = self._used = 0  # bytes

    def clear(self) -> None:
        """Begin anew: what was on the board may be written over."""
        self._used = 0

    def put(self, data: memoryview) -> tuple[int, memoryview]:
        """Copy flat bytes onto the board; return where they are, and they themselves, writable."""
        place = -(-self._used // ALIGNMENT) * ALIGNMENT
        memory = self._with_room(place + data.nbytes)
        self._used = place + data.nbytes
        written = memoryview(memory)[place : self._used]
        # numpy copies faster than a memoryview where the memory is not aligned.
        np.copyto(np.frombuffer(written, np.uint8), np.frombuffer(data, np.uint8))
        return place, written

    def place_of(self, data: memoryview) -> int | None:
        """Return where flat bytes lie on the board; None if they do not."""
        offset = _address(data) - self._start
        return offset if self._memory is not None and 0 <= offset <= self._size - data.nbytes else None

    def _with_room(self, size: int) -> mmap.mmap:
        if self._memory is None or size > self._size:
            self._size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
            os.ftruncate(self.descriptor, self._size)
            # A former mapping lives for as long as arrays point into it.
            self._memory = mmap.mmap(self.descriptor, self._size)
            self._start = _address(memoryview(self._memory))
        return self._memory

    def close(self) -> None:
        """Let go of it; the reader keeps what it has mapped."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
            self._memory = None


class View:
    """The reader's end of a board."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory: mmap.mmap | None = None
        self._size = 0

    def at(self, place: int, length: int) -> memoryview:
        """Return bytes of the board, read-only. ValueError if the board does not reach so far."""
        if self._memory is None or place + length > self._size:
            self._size = os.fstat(self._descriptor).st_size
            if place + length > self._size:
                raise ValueError(f"bytes {place} to {place + length} of a board of {self._size} bytes")
            self._memory = mmap.mmap(self._descriptor, self._size, access=mmap.ACCESS_READ)
        return memoryview(self._memory)[place : place + length]

    def close(self) -> None:
        """Let go of it; arrays that point into it keep their memory."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._memory = None


def _address(data: memoryview) -> int:
    return int(np.frombuffer(data, np.uint8).ctypes.data)
