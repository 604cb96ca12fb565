"""Rows kept in a file: the same arrays, nothing in the folder, one clear error where it cannot be written."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sources import workload

from dbp.data.rows import EncodedRows
from dbp.errors import JobFailedError
from dbp.sums.batches import BatchSampler
from dbp.sums.messages import SumTask
from dbp.sums.pool import serial_pool
from dbp.sums.row_file import RowFile
from dbp.sums.shards import Shards


@given(
    rows=st.integers(1, 60),
    count=st.integers(1, 8),
    features=st.integers(1, 9),
    outputs=st.integers(0, 3),
    weighted=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 9),
)
def test_shards_come_back_as_they_were_whatever_their_order(rows, count, features, outputs, weighted, dtype, seed):
    parts = {"train": Shards(rows, min(count, rows)), "validation": Shards(rows + 1, 1)}
    file, draw = RowFile(parts), np.random.default_rng(seed)

    def made(part, shard):
        size, random = parts[part].size(shard), np.random.default_rng([shard, len(part)])
        targets = random.random((size, outputs)).astype(dtype) if outputs else np.arange(size, dtype=np.int32)
        weights = random.random(size).astype(dtype) if weighted else None
        return EncodedRows(random.random((size, features)).astype(dtype), targets, weights)

    places = [(part, shard) for part, shards in parts.items() for shard in range(shards.count)]
    kept = {places[place]: file.keep(*places[place], made(*places[place])) for place in draw.permutation(len(places))}
    del file  # the rows outlive it
    for place, found in kept.items():
        for one, other in zip(found, made(*place), strict=True):
            if other is None:
                assert one is None
                continue
            assert one.dtype == other.dtype
            assert not one.flags.writeable
            assert one.ctypes.data % 64 == 0
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("batch", [None, 17])
def test_a_worker_computes_the_same_bits_and_leaves_no_name(tmp_path, monkeypatch, batch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    load, found = workload(rows=300, shards=8), []
    for on_disk in (False, True):
        pool = serial_pool(replace(load, on_disk=on_disk))
        theta = load.training.network.initial_parameters(0)
        sampler = BatchSampler(load.shards["train"], batch, 0) if batch else None
        sums = [
            pool.sum(
                SumTask("gradient", "train", step, sampler.batch(step) if sampler else None), theta
            ).gradient.tobytes()
            for step in (1, 2, 3)
        ]
        found.append(sums)
        assert os.listdir(tmp_path) == []
    assert found[0] == found[1]


def test_a_file_that_may_not_grow_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        rows = EncodedRows(np.zeros((1000, 10)), np.zeros((1000, 1)))
        with pytest.raises(JobFailedError, match=r"encoded rows cannot be kept there \(File too large\).*set TMPDIR"):
            RowFile({"train": Shards(1000, 1)}).keep("train", 0, rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert os.listdir(tmp_path) == []
