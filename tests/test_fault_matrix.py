"""docs/fault-matrix.md is true: its rows are numbered without a gap, and each names tests that exist, or a reason."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "fault-matrix.md"
TEST = re.compile(r"\[(?P<name>test_\w+)\]\(\.\./(?P<file>tests/[\w/]+\.py)\)")
ROWS = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]


@cache
def names_in(file: str) -> set[str]:
    return {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}


def test_no_row_is_missing() -> None:
    assert [int(row.split("|")[1]) for row in ROWS] == list(range(1, 93))
    assert len({row.split("|")[2] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_each_row_has_tests_that_exist_or_a_reason(row: str) -> None:
    _, _, fault, what, shown, end = row.split("|")
    assert end == ""
    assert fault.strip()
    assert len(what.split()) > 1 or what.strip() == "refused"
    found = [(each["file"], each["name"]) for each in TEST.finditer(shown)]
    for file, name in found:
        assert name in names_in(file), f"{file} has no {name}"
    if not found:
        reason = re.fullmatch(r" none: (?P<reason>.+) ", shown)
        assert reason is not None, shown
        assert len(reason["reason"].split()) >= 8


def test_other_rows_that_are_named_are_there() -> None:
    """`row 56` is a row of the table."""
    named = {int(number) for number in re.findall(r"\brows? (\d+)", PAGE.read_text())}
    assert named <= set(range(1, len(ROWS) + 1))
    assert named
