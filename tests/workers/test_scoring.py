"""Predicting and evaluating by Ray workers: the bytes and numbers of one process, also when workers are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from ray_nodes import cluster, environment

import dbp.data.text_index
import dbp.models.evaluating
import dbp.models.prediction
from dbp import Model, Network
from dbp.data.encoding import Encoding
from dbp.data.open_table import open_table
from dbp.errors import DataError, InputError, WorkersLostError
from dbp.models.model import Batch
from dbp.models.spans import here, spans
from dbp.workers import crew as crew_module
from dbp.workers.crew import Crew
from dbp.workers.scoring import evaluate, predict

pytestmark = pytest.mark.usefixtures("local_ray")

ROWS = 2500


@pytest.fixture
def model() -> Model:
    network = Network((2, 4, 3), ("tanh", "identity"))
    encoding = Encoding(("a", "b"), (0.0, 0.0), (1.0, 1.0), ("kind",), "classification", ("x", "y", "z"))
    return Model(network, network.initial_parameters(0, "float32"), encoding, "cross_entropy")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A table of many spans: parts of 64 rows, row groups that end elsewhere."""
    monkeypatch.setattr(dbp.models.evaluating, "PART_ROWS", 64)
    monkeypatch.setattr(dbp.models.prediction, "_MOST_PIECE_ROWS", 50)
    random = np.random.default_rng(0)
    kinds = np.array(["x", "y", "z"])[random.integers(0, 3, ROWS)]
    columns = {"a": random.standard_normal(ROWS), "b": random.standard_normal(ROWS), "kind": kinds}
    pq.write_table(pa.table(columns | {"w": random.random(ROWS)}), tmp_path / "t.parquet", row_group_size=333)
    return str(tmp_path / "t.parquet")


@dataclass(frozen=True)
class Sum:
    """Adds up column a; dies on the span that begins at row `deadly`, stops on the one of `stops`, once, and leaves a file."""

    deadly: int | None = None
    stops: tuple[int, str] = (-1, "")
    columns: tuple[str, ...] = ("a",)
    span_rows: int = 100
    result_bytes: int = 100

    def compute(self, batches: Iterable[Batch]) -> tuple[int, float]:
        held = list(batches)
        if held[0].first_row == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if held[0].first_row == self.stops[0] and not Path(self.stops[1]).exists():
            Path(self.stops[1]).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)
        return held[0].first_row, sum(float(np.asarray(batch.rows["a"]).sum()) for batch in held)


@pytest.mark.parametrize(("workers", "weight"), [(1, None), (3, "w")])
def test_the_same_measures(workers: int, weight: str | None, model: Model, table: str) -> None:
    """To the last bit, with and without weights, and as the library's own; rows are counted up to all of them."""
    heard: list[tuple[int, int]] = []
    found = evaluate(model, table, weight=weight, workers=workers, progress=lambda *at: heard.append(at))
    assert found == evaluate(model, table, weight=weight) == model.evaluate(table, weight)
    assert heard == [(stop, ROWS) for _, stop in spans(ROWS, 256)]


@pytest.mark.parametrize(("source", "ending"), [("parquet", "parquet"), ("csv", "csv"), ("csv", "parquet")])
def test_the_same_bytes(source: str, ending: str, model: Model, table: str, tmp_path: Path) -> None:
    """From Parquet, and from CSV, which has no index; to files, and CSV to a stream."""
    if source == "csv":
        pyarrow.csv.write_csv(pq.read_table(table), tmp_path / "t.csv")
        table = str(tmp_path / "t.csv")
    written = []
    for workers in (0, 3):
        out = tmp_path / f"{workers}.{ending}"
        rows, names = predict(model, table, out, workers=workers)
        assert (rows, names[0]) == (ROWS, "prediction")
        written.append(out.read_bytes())
    assert written[0] == written[1]
    if ending == "csv":
        with open(tmp_path / "stream", "wb") as file:
            predict(model, table, file)
        assert (tmp_path / "stream").read_bytes() == written[0]


def test_killed_workers_are_replaced(table: str) -> None:
    """All of them killed while results come: each is told, the results are complete, in order, and the same."""
    import ray

    file = open_table(table)
    task, heard = Sum(), []
    crew = Crew(task, file, 2, heard.append)
    work = spans(file.row_count, task.span_rows)
    coming = crew.results(work)
    try:
        found = [next(coming), next(coming)]
        killed = crew.pids()
        assert killed
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        found += list(coming)
        assert not set(killed) & set(crew.pids())
    finally:
        crew.close()
    assert found == list(here(task, file))
    assert len(heard) == len(killed)
    for pid, text in zip(sorted(killed), sorted(heard), strict=True):
        assert f"(pid {pid}) was lost: " in text
        assert "another one computes its rows again" in text
    assert ray.is_initialized()


def test_a_stopped_worker_is_replaced(table: str) -> None:
    """The only one, so that nobody else could compute its spans; it is told, and the results are the same."""
    file, heard = open_table(table), []
    crew = Crew(Sum(), file, 1, heard.append, frozen_s=2.0)
    coming = crew.results(spans(file.row_count, 100))
    try:
        found = [next(coming)]
        (stopped,) = crew.pids()
        os.kill(stopped, signal.SIGSTOP)
        found += list(coming)
        assert stopped not in crew.pids()
    finally:
        crew.close()
    assert found == list(here(Sum(), file))
    assert [text.partition(" for ")[0] for text in heard] == [f"worker 1 (pid {stopped}) was lost: no sign of life"]


def test_others_compute_what_a_late_worker_has(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before it would be given up for silent, and without its being ended."""
    monkeypatch.setattr(crew_module, "SLACK_S", 0.5)
    monkeypatch.setattr(crew_module, "FIRST_SLACK_S", 0.5)
    file, heard, marker = open_table(table), [], tmp_path / "stopped"
    crew = Crew(Sum(stops=(1200, str(marker))), file, 2, heard.append, frozen_s=3600.0)
    try:
        found = list(crew.results(spans(file.row_count, 100)))
        assert int(marker.read_text()) in crew.pids()
    finally:
        crew.close()
    assert found == list(here(Sum(), file))
    assert heard == []


def test_rows_that_kill_every_worker(table: str) -> None:
    """The end is a sentence: not an endless row of workers."""
    file = open_table(table)
    heard: list[str] = []
    crew = Crew(Sum(deadly=300), file, 1, heard.append)
    coming = crew.results(spans(file.row_count, 100))
    try:
        assert [next(coming)[0] for _ in range(3)] == [0, 100, 200]
        with pytest.raises(WorkersLostError, match="4 workers died one after the other, with no rows done between"):
            next(coming)
    finally:
        crew.close()
    # A worker that dies takes what it had not sent yet with it: each of the three good spans may have cost one more.
    assert 3 <= len(heard) <= 6


def test_no_worker_runs_far_ahead(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that nobody took yet, and calls: never more than the window."""
    file = open_table(table)
    crew = Crew(Sum(), file, 2, print)
    most = 0
    take = Crew._take

    def watched(self: Crew, *arguments: Any) -> None:
        nonlocal most
        take(self, *arguments)
        todo = arguments[-1]
        calls = sum(span is not None for _, span in self._calls.values())
        most = max(most, len(todo.back) + calls)

    monkeypatch.setattr(Crew, "_take", watched)
    try:
        assert len(list(crew.results(spans(file.row_count, 100)))) == 25
    finally:
        crew.close()
    assert 1 <= most <= crew_module.WINDOW * 2


def test_errors_are_those_of_one_process(model: Model, table: str, tmp_path: Path) -> None:
    """The first in the order of the rows, word for word; no file is left."""
    columns = pq.read_table(table)
    values = columns["b"].to_pylist()
    values[1234], values[2222] = float("nan"), None
    pq.write_table(columns.set_column(1, "b", pa.array(values)), tmp_path / "bad.parquet")
    before = sorted(tmp_path.iterdir())
    said = []
    for workers in (0, 2):
        with pytest.raises(DataError) as refusal:
            predict(model, tmp_path / "bad.parquet", tmp_path / "out.csv", workers=workers)
        said.append(str(refusal.value))
    assert said[0] == said[1]
    assert "column 'b', row 1235 " in said[0]
    assert sorted(tmp_path.iterdir()) == before


def test_a_table_that_workers_see_otherwise(model: Model, table: str) -> None:
    """Another file at the same place: rows are counted before they are used."""
    file = open_table(table)
    file.row_count = ROWS + 1  # type: ignore[misc]  # what this process believes
    crew = Crew(Sum(), file, 1, print)
    try:
        with pytest.raises(DataError, match=r"has 2,500 rows on node .*, and 2,501 here; expected the same file"):
            next(crew.results(spans(file.row_count, 100)))
    finally:
        crew.close()


@pytest.mark.parametrize("folder", [False, True])
def test_no_worker_looks_through_a_csv(
    folder: bool, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told where rows are: here, of rows that are none of a CSV any more. Relative paths are this process's."""
    (tmp_path / "d").mkdir()
    pyarrow.csv.write_csv(pq.read_table(table), tmp_path / "d/t.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dbp.data.text_index, "PIECE_BYTES", 1 << 14)
    file = open_table("d" if folder else "d/t.csv")
    task = Sum()
    expected = list(here(task, file))
    text = (tmp_path / "d/t.csv").read_bytes()
    end = text.rindex(b"\n", 0, -(3 << 14))
    (tmp_path / "d/t.csv").write_bytes(text[:end] + b'"' * (len(text) - end))
    crew = Crew(task, file, 1, print)
    try:
        coming = crew.results(spans(file.row_count, task.span_rows))
        assert next(coming) == expected[0]
        with pytest.raises(DataError, match="are not what they were"):
            list(coming)
    finally:
        crew.close()


@pytest.mark.long
def test_on_a_cluster_of_two_nodes(model: Model, tmp_path: Path) -> None:
    """`--address`, one CPU a node, the table by a relative path: the standard output of one process."""
    model.save(tmp_path / "m.safetensors")
    random, rows = np.random.default_rng(1), 300_000  # two spans
    kinds = np.array(["x", "y", "z"])[random.integers(0, 3, rows)]
    columns = {"a": random.standard_normal(rows), "b": random.standard_normal(rows), "kind": kinds}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    command = [Path(sys.executable).with_name("dbp"), "evaluate", "m.safetensors", "t.parquet", "--json"]
    with cluster() as nodes:
        nodes.start_head(cpus=1)
        nodes.add_node(cpus=1)
        nodes.wait_for_nodes(2)
        alone, together = (
            subprocess.run([*command, *more], cwd=tmp_path, env=environment(), capture_output=True, check=True)
            for more in ((), ("--workers", "2", "--address", nodes.address))
        )
    assert together.stdout == alone.stdout
    assert f'"rows": {rows}'.encode() in alone.stdout


def test_nonsense(model: Model, table: str) -> None:
    """A number below 0, or an address without workers, is refused."""
    with pytest.raises(InputError, match="workers: -1"):
        evaluate(model, table, workers=-1)
    with pytest.raises(InputError, match="say how many workers compute there with --workers N"):
        evaluate(model, table, address="somewhere:1")
