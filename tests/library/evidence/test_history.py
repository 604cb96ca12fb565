"""The lines of metrics.jsonl: whatever a kill may leave is right, whatever else is missing or there twice is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbp.evidence.history import read_history


def row(step: int, attempt: int | None = 1, **changes: object) -> dict[str, object]:
    facts = {"step": step, "loss": 1.0 / (step or 1), "digest": f"{step:016x}", **changes}
    return facts if attempt is None else {**facts, "attempt": attempt}


def findings(path: Path, rows: list[object], finished: bool = True) -> list[str]:
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in rows))
    return [str(finding) for finding in read_history(path).findings(finished)]


@st.composite
def attempts(draw: st.DrawFn) -> list[dict[str, object]]:
    """What runs leave that are killed at any step, and go on after any step that they had reached."""
    rows, reached = [], 0
    for attempt in range(1, draw(st.integers(1, 4)) + 1):
        first = draw(st.integers(1, reached + 1))
        last = draw(st.integers(first, first + 8))
        rows += [row(step, attempt) for step in range(first, last + 1)]
        reached = max(reached, last)
    return rows


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("history") / "metrics.jsonl"


@given(attempts(), st.booleans())
def test_what_kills_and_resumes_leave_is_right(path: Path, rows: list[dict[str, object]], old: bool) -> None:
    """Also in files of before attempts were written."""
    if old:
        rows = [{key: value for key, value in each.items() if key != "attempt"} for each in rows]
    assert findings(path, rows) == []
    assert read_history(path).last == max(each["step"] for each in rows)


@given(attempts(), st.data())
def test_a_line_missing_within_an_attempt_is_found(
    path: Path, rows: list[dict[str, object]], data: st.DataObject
) -> None:
    inner = [
        place
        for place in range(1, len(rows) - 1)
        if rows[place - 1]["attempt"] == rows[place]["attempt"] == rows[place + 1]["attempt"]
    ]
    if inner:
        place = data.draw(st.sampled_from(inner))
        found = findings(path, rows[:place] + rows[place + 1 :])
        assert len(found) == 1
        assert f"step {rows[place]['step']} missing" in found[0]


@given(attempts(), st.data())
def test_a_line_that_is_there_twice_is_found(path: Path, rows: list[dict[str, object]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    found = findings(path, rows[: place + 1] + rows[place:])
    assert len(found) == 1
    assert f"step {rows[place]['step']}: expected step" in found[0]
    assert f"once more in line {place + 2}" in found[0]


@given(attempts(), st.data())
def test_a_step_made_again_with_other_bits_is_found(
    path: Path, rows: list[dict[str, object]], data: st.DataObject
) -> None:
    again = [place for place, each in enumerate(rows) if each["step"] in [other["step"] for other in rows[:place]]]
    if again:
        place = data.draw(st.sampled_from(again))
        key, value = data.draw(st.sampled_from([("digest", "f" * 16), ("loss", -1.0)]))
        rows[place] = {**rows[place], key: value}
        found = findings(path, rows)
        assert found
        assert all(f"step {rows[place]['step']}: expected {key}" in each for each in found)


def test_a_torn_line_is_right_only_where_a_kill_can_have_torn_it(path: Path) -> None:
    """At the end of a run that did not end as it should, or before the next attempt."""
    torn = '{"step": 3, "lo'
    assert findings(path, [row(1), row(2), torn], finished=False) == []
    assert findings(path, [row(1), row(2), torn, row(2, 2), row(3, 2)]) == []
    assert findings(path, [row(1), row(2), torn]) == [
        "metrics.jsonl, step 3: expected a line of JSON; found line 3, which cannot be read"
    ]
    assert len(findings(path, [row(1), torn, row(2), row(3)])) == 1
    assert len(findings(path, [torn, torn], finished=False)) == 1


def test_the_start_the_end_and_the_order(path: Path) -> None:
    assert findings(path, [row(3), row(4)]) == [
        "metrics.jsonl, step 1: expected steps 1 to 2; found step 3 in line 1: steps 1 to 2 missing"
    ]
    assert len(findings(path, [row(1), row(2), row(5, 2)])) == 1
    assert len(findings(path, [row(1, 2), row(2, 2), row(3, 1)])) == 1
    assert len(findings(path, [row(0), row(1)])) == 1
    assert "a digest of 16 hex digits" in findings(path, [row(1, digest="12")])[0]
    assert read_history(path.parent / "none").last == 0
