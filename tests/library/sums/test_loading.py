"""Loading in rounds: every shard once, about as many of each worker, and the bits of loading at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dbp
from dbp.sums import loading
from dbp.sums.loading import LEAST_ROWS, MOST_ROUNDS, loading_rounds, rows_of
from dbp.sums.shards import Shards
from dbp.training.observers import Observer


@given(st.integers(LEAST_ROWS, 10 * LEAST_ROWS), st.integers(0, 8), st.integers(0, 16))
def test_every_shard_is_loaded_once(rows: int, power: int, workers: int) -> None:
    """In at most so many rounds, and in none where a worker would have nothing to do in a round."""
    shards = Shards(rows, 2**power)
    rounds = loading_rounds(shards, workers)
    assert len(rounds) <= MOST_ROUNDS
    if rounds:
        assert sorted(piece.shard for each in rounds for piece in each.slices) == list(range(shards.count))
        assert sum(map(rows_of, rounds)) == rows
        assert all(len(each.slices) >= workers for each in rounds)
        assert all(
            [piece.shard for piece in each.slices] == sorted(piece.shard for piece in each.slices) for each in rounds
        )
    else:
        assert shards.count < 2 * max(workers, 1)


def test_few_rows_are_loaded_at_once() -> None:
    """Nobody is told."""
    assert loading_rounds(Shards(LEAST_ROWS - 1, 64), 2) == []


class Told(Observer):
    """What was said of loading."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []

    def loading(self, rows: int, total: int) -> None:
        self.rows.append((rows, total))


def test_the_bits_are_those_of_loading_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever is told hears of more and more rows, up to all of both parts."""
    draw = np.random.default_rng(0)
    table = pa.table(
        {"a": draw.standard_normal(9000), "b": draw.standard_normal(9000), "y": draw.standard_normal(9000)}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    job = dbp.Job.from_text(
        f"""
name: rounds
data: {{train: {tmp_path}/t.parquet, validation: 0.4, target: y}}
task: regression
network: {{hidden: [3]}}
optimizer: {{name: gradient_descent, learning_rate: 0.1}}
training: {{max_steps: 3, batch: 500}}
storage: {tmp_path}
workers: 0
"""
    )
    hashes = []
    for least, told in ((LEAST_ROWS, Told()), (1, Told())):
        monkeypatch.setattr(loading, "LEAST_ROWS", least)
        hashes.append(dbp.train(job, observer=told).model.parameters_sha256)
        rows = [rows for rows, _ in told.rows]
        assert rows == sorted(set(rows))
        assert told.rows[-1:] == ([] if least > 1 else [(9000, 9000)])
        assert len(told.rows) > 3 or least > 1
    assert hashes[0] == hashes[1]
