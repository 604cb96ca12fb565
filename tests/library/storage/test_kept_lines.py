"""Lines that cannot be written wait in memory, and what a failed fsync may have lost is written anew."""

from __future__ import annotations

import errno
import os
import threading
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
    """The lines since the last fsync that went well, before those that came later, on a fresh line."""
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
    assert (tmp_path / "log").read_text() == "safe\ndoubtful\n\ndoubtful\nlater\n"
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


def test_appending_does_not_wait_for_an_fsync_in_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If that fsync fails, the lines that came meanwhile are as doubtful as the others; if it does not, they are the next one's."""
    begun, may_end, code = threading.Event(), threading.Event(), [0]

    def slow(descriptor: int) -> None:
        begun.set()
        assert may_end.wait(20)
        if code[0]:
            raise OSError(code[0], os.strerror(code[0]))

    monkeypatch.setattr("dbp.storage.line_file.os.fsync", slow)
    lines, raised = KeptLines(tmp_path / "log"), []

    def sync() -> None:
        try:
            lines.sync()
        except StorageError as error:
            raised.append(error)

    for code[0], first, second in ((errno.EIO, "a", "b"), (0, "c", "d"), (errno.EIO, "e", "f")):
        begun.clear()
        may_end.clear()
        lines.append(first)
        other = threading.Thread(target=sync)
        other.start()
        assert begun.wait(20)
        lines.append(second)
        may_end.set()
        other.join(20)
    code[0] = 0
    lines.sync()
    assert len(raised) == 2
    # a and b are written anew; d came during a sync that went well, so the one that failed after it has it written anew, too.
    assert (tmp_path / "log").read_text().split() == ["a", "b", "a", "b", "c", "d", "e", "f", "d", "e", "f"]
    lines.close()
