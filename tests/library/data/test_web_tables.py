"""Tables on web servers: in ranges where the server knows them, else as one copy."""

from __future__ import annotations

import pickle
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from dbp.data.open_table import open_table
from dbp.data.table import Table
from dbp.errors import DataError, StorageError
from dbp.jobs.job import Job

ROWS = 100_000


@dataclass
class Web:
    """A server of a folder. `requests` are "METHOD path range"; `statuses` are answered first, in this order."""

    url: str
    ranges: bool
    requests: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("web")
    draw = np.random.default_rng(1)
    table = pa.table({**{f"x{n}": draw.standard_normal(ROWS) for n in range(4)}, "y": np.arange(ROWS) % 7})
    pq.write_table(table, place / "t.parquet", row_group_size=10_000)
    pyarrow.csv.write_csv(table, place / "t.csv")
    pyarrow.csv.write_csv(table, pa.CompressedOutputStream(str(place / "t.csv.gz"), "gzip"))
    (place / "empty.csv").touch()
    return place


@pytest.fixture(params=[True, False], ids=["ranges", "no ranges"])
def web(request: pytest.FixtureRequest, folder: Path) -> Iterator[Web]:
    """A server on a free port of this machine."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

        def end_headers(self) -> None:
            if found.ranges:
                self.send_header("Accept-Ranges", "bytes")
            super().end_headers()

        def do_HEAD(self) -> None:
            if not self._fails():
                super().do_HEAD()

        def do_GET(self) -> None:
            if self._fails():
                return
            part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if not found.ranges or part is None:
                super().do_GET()
                return
            data = (folder / self.path.lstrip("/")).read_bytes()
            start, stop = int(part[1]), min(int(part[2]) + 1, len(data))
            self.send_response(206)
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            self.end_headers()
            self.wfile.write(data[start:stop])

        def _fails(self) -> bool:
            found.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}")
            if found.statuses:
                self.send_error(found.statuses.pop(0))
                return True
            return False

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Whoever asked hung up: it was not the part that was asked for."""

    server = Server(("127.0.0.1", 0), Handler)
    found = Web(f"http://127.0.0.1:{server.server_port}", request.param)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def rows_of(table: Table, start: int, stop: int) -> pa.Table:
    return pa.Table.from_batches(table.batches(start, stop, table.schema.names), table.schema)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz"])
def test_a_table_is_the_same_on_the_web(name: str, web: Web, folder: Path) -> None:
    """Rows, fingerprint; also for a process that was told what another learnt."""
    here, there = open_table(folder / name), open_table(f"{web.url}/{name}")
    assert (there.path, there.row_count, there.schema) == (f"{web.url}/{name}", here.row_count, here.schema)
    assert there.fingerprint() == here.fingerprint()
    told = open_table(there.path, pickle.loads(pickle.dumps(there.learnt())))
    for start, stop in ((0, ROWS), (54_321, 54_329)):
        assert rows_of(there, start, stop).equals(rows_of(here, start, stop))
        assert rows_of(told, start, stop).equals(rows_of(here, start, stop))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_only_ranges_are_asked_for(name: str, web: Web, folder: Path) -> None:
    """Where the server has them; else the file is asked for once, after it was asked for a part of it in vain."""
    learnt = open_table(f"{web.url}/{name}").learnt()
    web.requests.clear()
    table = open_table(f"{web.url}/{name}", learnt)
    rows_of(table, 54_321, 54_329)
    gets = [line for line in web.requests if line.startswith("GET")]
    parts = [re.search(r"bytes=(\d+)-(\d+)$", line) for line in gets]
    if web.ranges:
        assert gets
        assert all(parts)
        size = (folder / name).stat().st_size
        assert sum(min(int(part[2]), size - 1) - int(part[1]) + 1 for part in parts if part) < size
    else:
        assert [part is None for part in parts] == [False, True]


def test_what_cannot_be_read(web: Web) -> None:
    """Missing, empty, denied; a server that is busy is asked again."""
    with pytest.raises(DataError, match=r"/no\.csv: no such file$"):
        open_table(f"{web.url}/no.csv")
    with pytest.raises(DataError, match=r"/empty\.csv: the file is empty"):
        open_table(f"{web.url}/empty.csv")
    with pytest.raises(DataError, match="no ending; expected a table"):
        open_table(f"{web.url}/folder")
    with pytest.raises(StorageError, match="an odd name; expected"):  # the files of a web server cannot be listed
        open_table(f"{web.url}/*.csv")
    web.statuses[:] = [503, 503]
    assert open_table(f"{web.url}/t.parquet").row_count == ROWS
    web.statuses[:] = [403] * 4
    with pytest.raises(StorageError, match=r"t\.parquet: cannot be read: access denied \(status 403\)"):
        open_table(f"{web.url}/t.parquet")


JOB = """
{name: a, data: {train: '%s', target: y}, task: regression, network: {hidden: []},
 optimizer: {name: gradient_descent, learning_rate: 1}}
"""


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("https://me:word@example.org/t.csv", "holds a user or password"),
        ("https://example.org/t.csv?signature=word", "an odd name"),
        ("https://:80/t.csv", "names no server"),
        ("ftp://example.org/t.csv", "storage of kind 'ftp'"),
    ],
)
def test_addresses_that_a_job_may_not_name(place: str, words: str) -> None:
    """They hold no secret, in messages neither; results are not kept on the web."""
    with pytest.raises(Exception, match=words) as refusal:
        Job.from_text(JOB % place)
    assert "word@" not in str(refusal.value)
    assert "=word" not in str(refusal.value)
    fine = Job.from_text(JOB % "https://example.org:8443/data/t%20a.csv")
    assert fine.data.train == "https://example.org:8443/data/t%20a.csv"
    with pytest.raises(Exception, match="storage of kind 'https'"):
        Job.from_text(JOB % "t.csv", overrides=["storage=https://example.org/runs"])
