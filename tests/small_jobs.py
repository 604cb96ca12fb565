"""A small job whose validation loss falls and then rises: few noisy rows, many hidden units."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import dbp


def write_table(path: Path, rows: int = 40, seed: int = 0, shift: float = 0.0) -> Path:
    """Write columns a, b (and c, which is a label) and a noisy y."""
    draw = np.random.default_rng(seed)
    a, b = draw.standard_normal((2, rows)) + shift
    y = np.sin(2 * a) * b + 0.7 * draw.standard_normal(rows)
    lines = [f"{a[i]!r},{b[i]!r},{'xyz'[i % 3]},{y[i]!r}" for i in range(rows)]
    path.write_text(
        "\n".join(["a,b,c,y", *(line.replace("np.float64(", "").replace(")", "") for line in lines)]) + "\n"
    )
    return path


def small_job(folder: Path, *overrides: str, storage: str = "runs") -> dbp.Job:
    """Return the job; its table is made where there is none."""
    if not (folder / "table.csv").exists():
        write_table(folder / "table.csv")
    text = """\
name: small
data: {train: table.csv, validation: 0.3, target: y, features: [a, b]}
task: regression
network: {hidden: [24]}
optimizer: {name: gradient_descent, learning_rate: 0.2, momentum: 0.9}
training: {max_steps: 400, validate_every: 3, precision: float64}
workers: 0
checkpoint: {every: 7}
"""
    return dbp.Job.from_text(
        text, folder=folder, overrides=[f"storage={json.dumps(str(folder / storage))}", *overrides]
    )
