"""Looking through compressed text. A file can be unpacked from its beginning only, so it is one range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from dbp.data import text_index
from dbp.data.text_index import TextIndex
from dbp.data.text_scan import Again, RangeFound, RangeTask, TextRows, TextScan, require_same_size
from dbp.data.unpacked import TEXT_PER_BYTE, UnpackedFile
from dbp.errors import DataError


@dataclass(frozen=True)
class WholeTask(RangeTask):
    """Look through all of a file, from its first row on. `size` and `stop` are those of the compressed file."""

    source: UnpackedFile

    def _pieces(self, start: int) -> Iterator[tuple[bytes, bool]]:
        """See `RangeTask`. What unpacks to more than it should is not kept."""
        left, rest, wanted = start, b"", text_index.PIECE_BYTES
        with closing(self.source.pieces()) as unpacked:
            for more in unpacked:
                rest += more[left:]
                left -= min(left, len(more))
                while len(rest) >= wanted:
                    text = rest[:wanted]
                    if end := self._whole_rows(text):
                        yield text[:end], False
                    rest = rest[end:]
                    # After a long row twice as much: it is not looked through once for each piece of it.
                    wanted += (text_index.PIECE_BYTES if end else wanted) - end
        if end := self._whole_rows(rest):
            yield rest[:end], False
        if rest[end:]:
            yield rest[end:], True

    def _whole_rows(self, text: bytes) -> int:
        end = self.rows.last_end(text)
        if not end and len(text) > text_index.MOST_ROW_BYTES:
            raise DataError(f"{self.source.path}: {self.rows.too_long}")
        return end


@dataclass(frozen=True)
class PackedScan(TextScan):
    """A compressed file that is to be looked through. `size` is its own, not that of the text."""

    source: UnpackedFile

    @classmethod
    def of_packed(cls, source: UnpackedFile, rows: TextRows) -> PackedScan:
        """Return that of a file as it is now."""
        return cls(source, source.packed.size(), rows)

    @property
    def weight(self) -> int:
        """See `TextScan`."""
        return TEXT_PER_BYTE * self.size

    def tasks(self) -> Sequence[RangeTask]:
        """See `TextScan`."""
        return [WholeTask(self.source, self.size, self.rows, self.rows.begin, self.size, 0)]

    def put_together(self, results: Iterator[RangeFound | None], again: Again, told: Callable[[int], None]) -> object:
        """See `TextScan`."""
        found = next(results)
        assert found is not None
        told(self.size)
        require_same_size(self.source.packed, self.size)
        return self._learnt([found])

    def _text_size(self, index: TextIndex) -> int:
        return int(index.offsets[-1])
