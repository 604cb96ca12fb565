"""Lines that cannot be written wait in memory, and what a failed fsync may have lost is written anew."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dbp.errors import StorageError
from dbp.storage import kept_lines
from dbp.storage.kept_lines import KeptLines


def failing(monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    def fail(*arguments: object) -> object:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(f"dbp.storage.line_file.os.{call}", fail)


def test_lines_wait_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come in order, and the trouble is told once until a line could be written again."""
    told: list[str] = []
    lines = KeptLines(tmp_path / "log", lambda error: told.append(str(error)))
    for round_ in (1, 2):
        with monkeypatch.context() as patch:
            failing(patch, "write", errno.ENOSPC)
            for number in (1, 2):
                lines.append(f"{round_}.{number}")
            with pytest.raises(StorageError, match="the disk is full"):
                lines.sync()
        lines.append(f"{round_}.3")
    lines.sync()
    lines.close()
    lines.close()
    assert (tmp_path / "log").read_text() == "1.1\n1.2\n1.3\n2.1\n2.2\n2.3\n"
    assert [text.split(" (")[0] for text in told] == [
        f"{tmp_path / 'log'}: cannot be appended to: the disk is full"
    ] * 2


def test_what_a_failed_fsync_may_have_lost_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines since the last fsync that went well, before those that came later."""
    lines = KeptLines(tmp_path / "log")
    lines.append("safe")
    lines.sync()
    lines.append("doubtful")
    with monkeypatch.context() as patch:
        failing(patch, "fsync", errno.EIO)
        with pytest.raises(StorageError, match="cannot be made durable"):
            lines.sync()
    lines.append("later")
    lines.sync()
    assert (tmp_path / "log").read_text() == "safe\ndoubtful\ndoubtful\nlater\n"
    lines.close()


def test_what_waits_for_an_fsync_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_lines, "MOST_UNSYNCED", 3)
    lines = KeptLines(tmp_path / "log")
    for number in range(100):
        lines.append(str(number))
        assert len(lines._written) < 3
    lines.close()
    with pytest.raises(ValueError, match="no line break"):
        lines.append("a\nb")
