from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Ray's sockets lie below it, and their paths have at most 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="dbp-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
