"""A file of lines survives torn writes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dbp.errors import StorageError
from dbp.storage import line_file
from dbp.storage.line_file import LineFile


def test_each_line_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    write = os.write
    monkeypatch.setattr(line_file.os, "write", lambda d, data: (writes.append(bytes(data)), write(d, data))[1])
    with LineFile(tmp_path / "log") as file:
        file.append("one")
        file.append("zwölf")
    assert writes == [b"one\n", "zwölf\n".encode()]
    assert (tmp_path / "log").read_bytes() == b"".join(writes)


def test_a_torn_last_line_is_closed_by_the_next_writer(tmp_path: Path) -> None:
    """What was torn stays a line of its own; nothing is ever rewritten."""
    (tmp_path / "log").write_bytes(b'{"step": 1}\n{"ste')
    with LineFile(tmp_path / "log") as file:
        file.append("two")
        file.append("three")
    assert (tmp_path / "log").read_bytes() == b'{"step": 1}\n{"ste\ntwo\nthree\n'


def test_a_disk_that_fills_up_tears_one_line_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short write, then ENOSPC: StorageError; when there is room again, the next line is whole."""
    file = LineFile(tmp_path / "log")
    write = os.write
    answers = iter([lambda d, data: write(d, data[:2]), lambda d, data: _full()])
    with monkeypatch.context() as patch:
        patch.setattr(line_file.os, "write", lambda d, data: next(answers)(d, data))
        with pytest.raises(StorageError, match=r"log: cannot be appended to: the disk is full \(7 bytes needed"):
            file.append("abcdef")
    file.append("next")
    file.close()
    assert (tmp_path / "log").read_bytes() == b"ab\nnext\n"


def _full() -> int:
    raise OSError(errno.ENOSPC, "full")


def test_line_breaks_links_and_folders_are_refused(tmp_path: Path) -> None:
    with LineFile(tmp_path / "log") as file, pytest.raises(ValueError, match="line break"):
        file.append("a\nb")
    (tmp_path / "link").symlink_to(tmp_path / "log")
    with pytest.raises(StorageError, match="symbolic links, or is one"):
        LineFile(tmp_path / "link")
    with pytest.raises(StorageError, match="a folder of that name is in the way"):
        LineFile(tmp_path)


def test_a_line_that_is_written_in_many_parts_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that ends in the middle is closed by the next."""
    real, left = os.write, [100]

    def few(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "no space")
        left[0] -= 1
        return real(descriptor, data[:3])

    monkeypatch.setattr("dbp.storage.line_file.os.write", few)
    with LineFile(tmp_path / "log") as file:
        file.append("the first line")
        left[0] = 2
        with pytest.raises(StorageError, match="the disk is full"):
            file.append("the second")
        left[0] = 100
        file.append("the third")
    assert (tmp_path / "log").read_text() == "the first line\nthe se\nthe third\n"
