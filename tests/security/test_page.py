"""docs/security.md is true: each claim has tests, and they exist. docs/faults.md counts the spoilt input rightly."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
TEST = re.compile(r"\[(?P<name>test_\w+)\]\(\.\./(?P<file>[\w/.]+)\)")


def claims() -> list[str]:
    """The lines of the table of claims."""
    table = PAGE.read_text().partition("| Claim | How | Test |\n")[2].partition("\n\n")[0]
    return table.splitlines()[1:]


def test_there_are_claims() -> None:
    assert len(claims()) >= 25


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: claim.split("|")[1].strip()[:40])
def test_each_claim_has_tests_that_exist(claim: str) -> None:
    """By name, in the file that is linked."""
    assert claim.count("|") == 4
    found = list(TEST.finditer(claim))
    assert found
    for each in found:
        assert re.search(rf"^def {each['name']}\(", (ROOT / each["file"]).read_text(), re.MULTILINE), each["name"]


def test_there_is_a_way_to_report() -> None:
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()


def test_the_lowest_versions_are_above_known_holes() -> None:
    """Code that ran when a file was read: pyarrow's IPC and Parquet extension types before 14.0.1, PyYAML's full loader before 5.4,
    numpy's np.load before 1.16.3. Ray asks for its token by itself from 2.60 on."""
    floors = {"pyarrow": "14.0.1", "pyyaml": "5.4", "numpy": "1.16.3", "ray": "2.60"}
    asked = {
        requirement.name: requirement.specifier
        for requirement in map(
            Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        )
    }
    below = {"pyarrow": "14.0.0", "pyyaml": "5.3.1", "numpy": "1.16.2", "ray": "2.59"}
    assert {name for name in floors if below[name] in asked[name]} == set()


def test_spoilt_input_is_counted_rightly() -> None:
    """The table in docs/faults.md, against what pytest collects; at least 120 of them through the commands."""
    text = (ROOT / "docs/faults.md").read_text().partition("## Bad input")[2]
    rows = re.findall(r"^\|[^|]+\| \[(test_\w+)\]\(\.\./([\w/.]+)\) \| (\d+) \|$", text, re.MULTILINE)
    files = sorted({file for _, file, _ in rows})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    collected = Counter(line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line)
    assert {(name, file): int(count) for name, file, count in rows} == {
        (name, file): collected[f"{file}::{name}"] for name, file, _ in rows
    }
    by_commands = sum(int(count) for _, file, count in rows if file.startswith("tests/bad_input/"))
    total = sum(int(count) for _, _, count in rows)
    assert by_commands >= 120
    assert f"**{by_commands} cases through the commands, {total} in all**" in text
