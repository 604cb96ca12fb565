"""docs/derivation.md is true: every row is there, its code is where it says, its tests exist.

`python tests/derivation/test_page.py` moves the line numbers to where the quoted code is now.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "derivation.md"
ROWS = [
    "F1",
    "F2",
    "F3",
    "F4",
    "E1",
    "E2",
    "E3",
    "U1",
    "U2",
    "U3",
    "U4",
    "U5",
    "S1",
    "S2",
    "S3",
    "S4",
    "S5",
    "D1",
    "D2",
]
CODE = re.compile(r"\[(?P<file>[\w/.]+):(?P<line>\d+)\]\(\.\./(?P=file)#L(?P=line)\) `(?P<code>[^`]+)`")
TEST = re.compile(r"\[(?P<name>test_\w+)\]\(\.\./(?P<file>[\w/.]+)\)")


def table() -> dict[str, str]:
    """Each row's line of the page."""
    return {
        line.split("|")[1].strip(): line for line in PAGE.read_text().splitlines() if re.match(r"\| [A-Z]\d ", line)
    }


def places(file: str, code: str) -> list[int]:
    """The lines at which the quoted code stands."""
    lines = (ROOT / file).read_text().splitlines()
    return [number for number, line in enumerate(lines, start=1) if line.strip() == code]


def test_every_row_is_there():
    """Those of the derivation and no others, in its order."""
    assert list(table()) == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_the_code_is_where_it_says(row):
    """The line that the link points at is the line that is quoted."""
    found = CODE.search(table()[row])
    assert found
    assert int(found["line"]) in places(found["file"], found["code"]), f"now in {places(found['file'], found['code'])}"


@pytest.mark.parametrize("row", ROWS)
def test_its_tests_exist(row):
    """By name, in the file that is linked; and at least one is named after the row."""
    names = []
    for found in TEST.finditer(table()[row]):
        assert re.search(rf"^def {found['name']}\(", (ROOT / found["file"]).read_text(), re.MULTILINE), found["name"]
        names.append(found["name"])
    assert any(name.startswith(f"test_{row.lower()}_") for name in names)


if __name__ == "__main__":

    def moved(found: re.Match[str]) -> str:
        line = min(places(found["file"], found["code"]), key=lambda place: abs(place - int(found["line"])))
        return f"[{found['file']}:{line}](../{found['file']}#L{line}) `{found['code']}`"

    PAGE.write_text(CODE.sub(moved, PAGE.read_text()))
