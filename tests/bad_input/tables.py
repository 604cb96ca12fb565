"""A small table with two features and two classes, and ways to spoil it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUMBERS = np.arange(60) % 7
SHARES = np.arange(60) * 37 % 60 / 60
LABELS = ["high" if share > 0.5 else "low" for share in SHARES]


def write_csv(path: Path, changes: dict[int, str] | None = None, header: str = "n,x,label") -> None:
    """Write the 60 rows, some replaced: {row counted from 1: line}."""
    rows = [f"{n},{x},{label}" for n, x, label in zip(NUMBERS, SHARES, LABELS, strict=True)]
    lines = [(changes or {}).get(number, row) for number, row in enumerate(rows, start=1)]
    path.write_text("\n".join([header, *lines]) + "\n")


def write_parquet(path: Path, column: str = "", row: int = 0, value: object = None) -> None:
    """Write the 60 rows in groups of 25, with `value` in one cell (row counted from 1)."""
    columns = {"n": NUMBERS.tolist(), "x": SHARES.tolist(), "label": list(LABELS)}
    if column:
        columns[column][row - 1] = value
    pq.write_table(pa.table(columns), path, row_group_size=25)
