"""Metrics: appended line by line, read back whatever was torn."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbp.errors import StorageError
from dbp.jobs.metrics import MetricsWriter, read_metrics


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path).steps == ()
    with MetricsWriter(path) as writer:
        writer.write({"step": 1, "loss": 0.5, "validation": {"rms": 0.25}})
        writer.write({"step": 2, "loss": 0.1, "workers": [1, 2]})
    history = read_metrics(path)
    assert history.steps == (
        {"step": 1, "loss": 0.5, "validation": {"rms": 0.25}},
        {"step": 2, "loss": 0.1, "workers": [1, 2]},
    )
    assert history.torn == 0
    assert path.read_bytes().count(b"\n") == 2


def test_nan_and_infinity_become_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as writer:
        writer.write({"step": 1, "loss": math.nan, "inner": {"a": [math.inf, -math.inf, 1.0]}})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "step": 1,
        "loss": None,
        "inner": {"a": [None, None, 1.0]},
    }


def test_the_last_line_of_a_step_counts_and_steps_are_in_order(tmp_path: Path) -> None:
    """As after a resume from step 1: steps 2 and 3 are computed again."""
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as writer:
        for step, attempt in ((1, 1), (2, 1), (3, 1), (2, 2), (3, 2), (4, 2)):
            writer.write({"step": step, "attempt": attempt})
    assert [(row["step"], row["attempt"]) for row in read_metrics(path).steps] == [(1, 1), (2, 2), (3, 2), (4, 2)]


@given(st.integers(0, 120), st.lists(st.floats(), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_file_torn_anywhere_loses_only_its_last_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int, losses: list[float]
) -> None:
    """Cut the file at any byte, write on: every whole line before and every line after is there."""
    path = tmp_path_factory.mktemp("m") / "metrics.jsonl"
    with MetricsWriter(path) as writer:
        for step, loss in enumerate(losses):
            writer.write({"step": step, "loss": loss})
    data = path.read_bytes()[:cut]
    path.write_bytes(data)
    whole = data.count(b"\n")
    with MetricsWriter(path) as writer:
        writer.write({"step": 1000, "loss": 1.0})
    history = read_metrics(path)
    steps = [row["step"] for row in history.steps]
    unfinished = len(data) > 0 and not data.endswith(b"\n")
    assert steps[:whole] == list(range(whole))
    assert steps[-1] == 1000
    assert history.torn == unfinished - (len(steps) - 1 - whole)


@pytest.mark.parametrize(
    "line", [b"{", b"[1]", b'{"loss": 1}', b'{"step": "1"}', b'{"step": true}', b"\xff", b'{"step": 1, "x": NaN}']
)
def test_lines_that_are_no_metrics_are_counted(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n\n{"step": 2}\n')
    history = read_metrics(path)
    assert [row["step"] for row in history.steps] == [1, 2]
    assert history.torn == 1


def test_mistakes_are_told(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path / "m") as writer, pytest.raises(ValueError, match="name their step"):
        writer.write({"loss": 1.0})
    with pytest.raises(StorageError, match="cannot be opened for appending: no such file or folder"):
        MetricsWriter(tmp_path / "gone" / "m")
    with pytest.raises(StorageError, match="cannot be read"):
        read_metrics(tmp_path)


def test_a_line_is_whole_when_its_json_is(tmp_path: Path) -> None:
    """A killed writer may have written all but the line break: the line counts."""
    path = tmp_path / "metrics.jsonl"
    row: dict[str, Any] = {"step": 5}
    path.write_text(json.dumps(row))
    assert read_metrics(path).steps == (row,)
