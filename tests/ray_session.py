"""One Ray for all tests of a session that need it; starting one takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbp.workers.local_ray import embedded_ray


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Start it once. Its workers find the helpers in tests/."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    with embedded_ray(workers=6, vector_bytes=1 << 20):
        yield
