"""Audits on real Ray actors: a worker with one wrong bit in its memory is named and replaced, and the bits are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_jobs import small_job
from sources import CorruptRows, RandomRows, workload

import dbp
from dbp.sums.audit import Audit, bits_of
from dbp.sums.auditing import audited
from dbp.sums.messages import SumTask
from dbp.sums.pool import TransportPool, serial_pool
from dbp.training.observers import Observer
from dbp.workers.ray_pool import RayTransport

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.mark.parametrize("calls", ["link", "ray"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_with_a_wrong_bit_in_its_memory_is_replaced(tmp_path: Path, workers: int, calls: str) -> None:
    marker = tmp_path / "wrong"
    load = workload(rows=200, shards=8, source=CorruptRows(6, 3, 200, marker=marker))
    right = serial_pool(workload(rows=200, shards=8, source=RandomRows(6, 3, 200)))
    theta = load.training.network.initial_parameters(0, load.training.precision)
    said: list[str] = []
    pool = TransportPool(audited(RayTransport(calls), Audit(1.0, seed=0)), workers, load, said.append)
    try:
        pool.sum(SumTask("load", "train"))
        wrong = int(marker.read_text())
        for step in (1, 2, 3):
            task = SumTask("gradient", "train", step)
            assert bits_of(pool.sum(task, theta)) == bits_of(right.sum(task, theta))
    finally:
        pool.close()
    (sentence,) = said
    assert re.search(r"worker \d was lost \(audit: it computed shard \d of the train rows wrongly in step 1;", sentence)
    assert f"(pid {wrong})" in sentence
    assert f"worker {workers} takes its place" in sentence
    assert ("it ran on this machine" in sentence) == (calls == "link")


def test_an_audited_job_has_the_same_bits_and_nobody_is_accused(tmp_path: Path) -> None:
    class Lost(Observer):
        def __init__(self) -> None:
            self.said: list[str] = []

        def warning(self, text: str) -> None:
            self.said.append(text)

    observer = Lost()
    options = ("training.max_steps=25", "optimizer={name: lbfgs}", "training.l2_penalty=0.001")
    alone = dbp.train(small_job(tmp_path, *options), job_id="alone")
    audited_job = dbp.train(small_job(tmp_path, *options, "audit=0.5"), job_id="audited", workers=2, observer=observer)
    assert audited_job.summary.parameters_sha256 == alone.summary.parameters_sha256
    assert [step.digest for step in audited_job.history] == [step.digest for step in alone.history]
    assert observer.said == []
    # With nobody to compare with, it is said.
    dbp.train(small_job(tmp_path, *options, "audit=0.5"), job_id="nobody", workers=0, observer=observer)
    assert observer.said == [
        "audit: nothing is audited without worker processes: there is no other one to compare with"
    ]
