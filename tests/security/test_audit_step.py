"""The audit step of .ci/run: a known hole fails it, no database does not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

spec = importlib.util.spec_from_file_location("audit", Path(__file__).parents[2] / ".ci" / "audit.py")
assert spec is not None
assert spec.loader is not None
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

GOOD = {"name": "numpy", "version": "2.0", "vulns": []}
BAD = {"name": "ray", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.8"]}]}
UNKNOWN = {"name": "pyarrow", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([GOOD], 0, "audited: no known holes in 1 packages"),
        ([GOOD, BAD, UNKNOWN], 1, "ray 2.0: CVE-1 (mended in 2.8)"),
        ([UNKNOWN, UNKNOWN], 0, "not audited: the database cannot be reached"),
        ([GOOD, UNKNOWN], 0, "not in the database: pyarrow"),
        (None, 0, "not audited: the database cannot be reached"),
    ],
)
def test_what_a_report_means(packages: list[dict[str, Any]] | None, code: int, words: str) -> None:
    found, said = audit.judged(None if packages is None else {"dependencies": packages})
    assert found == code
    assert words in said[-1]


def test_it_is_a_step_of_what_must_pass() -> None:
    assert "audit.py" in (Path(__file__).parents[2] / ".ci" / "run").read_text()
