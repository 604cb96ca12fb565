"""Where the rows of a text file are: pieces of about a mebibyte that end at a row's end, found while it is looked through once
(`text_scan`).

Whoever has the index reads the pieces that hold the rows asked for, and no other byte. A checksum of each piece tells when the file
is not the one that was indexed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from dbp.data.table import ROW_NUMBERS
from dbp.data.table_file import TableFile
from dbp.errors import DataError

PIECE_BYTES = 1 << 20
MOST_ROW_BYTES = 8 << 20


@dataclass(frozen=True, eq=False)
class TextIndex:
    """P pieces, one after the other."""

    offsets: NDArray[np.int64]  # (P + 1,): where each begins, and where the last one ends
    first_rows: NDArray[np.int64]  # (P + 1,): likewise, in rows
    checksums: NDArray[np.uint32]  # (P,): CRC-32

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return int(self.first_rows[-1])

    @property
    def largest_piece(self) -> int:
        """The bytes of the largest piece."""
        return int(np.diff(self.offsets).max(initial=0))

    def read(self, file: TableFile, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield the pieces that hold rows [start, stop): the number of the first row in it, and its bytes.

        DataError where they are not the bytes that were indexed.
        """
        start, stop = max(start, 0), min(stop, self.row_count)
        if start >= stop:
            return
        first = int(np.searchsorted(self.first_rows, start, side="right")) - 1
        end = int(np.searchsorted(self.first_rows, stop, side="left"))
        with file.open_ranges() as source:
            source.seek(int(self.offsets[first]))
            for piece in range(first, end):
                data = source.read(int(self.offsets[piece + 1] - self.offsets[piece]))
                if zlib.crc32(data) != self.checksums[piece]:
                    raise DataError(
                        f"{file.path}: rows {self.first_rows[piece] + 1} to {self.first_rows[piece + 1]} ({ROW_NUMBERS}) are not "
                        "what they were when the job began; has the file changed? Restore it, then `dbp resume`, or start a new job"
                    )
                yield int(self.first_rows[piece]), data


class IndexBuilder:
    """Takes pieces in the file's order."""

    def __init__(self, offset: int) -> None:
        self._offsets, self._rows, self._checksums = [offset], [0], [0]

    @property
    def rows(self) -> int:
        """How many rows there were up to now."""
        return self._rows[-1]

    def add(self, piece: bytes, rows: int) -> None:
        """Take the next piece."""
        self._offsets.append(self._offsets[-1] + len(piece))
        self._rows.append(self._rows[-1] + rows)
        self._checksums.append(zlib.crc32(piece))

    def index(self) -> TextIndex:
        """Return the index of all pieces."""
        checksums = np.array(self._checksums[1:], dtype=np.uint32)
        return TextIndex(np.array(self._offsets), np.array(self._rows), checksums)


def joined(indices: Sequence[TextIndex]) -> TextIndex:
    """Return the index of parts of a file, one or more, each of which begins where the one before it ends."""
    before = accumulate((each.row_count for each in indices), initial=0)
    rows = (each.first_rows[1:] + first for each, first in zip(indices, before, strict=False))
    return TextIndex(
        np.concatenate([*(each.offsets[:-1] for each in indices), indices[-1].offsets[-1:]]),
        np.concatenate([np.zeros(1, np.int64), *rows]),
        np.concatenate([each.checksums for each in indices]),
    )


def first_line_end(text: bytes, start: int = 0, stop: int | None = None) -> int:
    """Return where the first line end in text[start:stop] ends, 0 for none; see `last_line_end`."""
    stop = len(text) if stop is None else stop
    newline, alone = text.find(b"\n", start, stop), text.find(b"\r", start, min(stop, len(text) - 1))
    return alone + 1 if alone >= 0 and (newline < 0 or alone + 1 < newline) else newline + 1


def last_line_end(text: bytes, start: int = 0, stop: int | None = None) -> int:
    """Return where the last line end in text[start:stop] ends, 0 for none: ``\\n``, or a ``\\r`` that no ``\\n`` can follow."""
    stop = len(text) if stop is None else stop
    alone = min(stop, len(text) - 1)
    return max(text.rfind(b"\n", start, stop), text.rfind(b"\r", start, alone)) + 1
