from __future__ import annotations

import os
from pathlib import Path

import pytest

from dbp.workers.local_ray import embedded_ray


@pytest.fixture(scope="session")
def local_ray():
    """One Ray for all tests that need it; starting one takes seconds. Its workers find the helpers in tests/."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    with embedded_ray(workers=8, vector_bytes=1 << 20):
        yield
