"""How much of local tables this process reads."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dbp.data.table_file import LocalFile


def counted(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Count the bytes that are read of local tables."""
    counts = SimpleNamespace(bytes=0)

    class Counted(io.BufferedReader):
        def __init__(self, place: Path) -> None:
            super().__init__(_Raw(place), 1)

    class _Raw(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            done = super().readinto(buffer)
            counts.bytes += done
            return done

        def readall(self) -> bytes:
            data = super().readall()
            counts.bytes += len(data)
            return data

    monkeypatch.setattr(LocalFile, "open_ranges", lambda self: Counted(self.local()))
    return counts
