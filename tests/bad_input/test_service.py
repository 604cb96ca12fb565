"""Services that are not there, are none, or do not let us in; jobs that are not there: one clear line each, exit code 2."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

Dbp = Callable[..., object]

JOB = """\
name: small
data: {train: table.csv, target: y}
task: regression
network: {hidden: [2]}
optimizer: {name: lbfgs}
workers: 1
"""
TOKEN = "0123456789abcdef"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "table.csv").write_text("x,y\n" + "1,2\n2,3\n" * 9)
    (tmp_path / "job.yaml").write_text(JOB)
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "token").chmod(0o600)
    return tmp_path / "job.yaml"


@pytest.fixture
def server() -> Iterator[Callable[[Callable[[http.server.BaseHTTPRequestHandler], tuple[int, str]]], str]]:
    """``server(answer)`` starts one that answers every request so; returns its address."""
    started: list[http.server.ThreadingHTTPServer] = []

    def start(answer: Callable[[http.server.BaseHTTPRequestHandler], tuple[int, str]]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answer(self)
                self.send_response(status)
                if status in (301, 302):
                    self.send_header("Location", body)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        started.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=started[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{started[-1].server_port}"

    yield start
    for each in started:
        each.shutdown()
        each.server_close()


def ray_like(request: http.server.BaseHTTPRequestHandler) -> tuple[int, str]:
    """A Ray that knows one job and asks for the token."""
    said = request.headers.get("Authorization")
    if said is None:
        return 401, "Unauthorized: Missing authentication token"
    if said != f"Bearer {TOKEN}":
        return 403, "Forbidden: Invalid authentication token"
    if request.path == "/api/version":
        return 200, '{"ray_version": "2.60.0"}'
    if request.path == "/api/jobs/":
        metadata = '{"dbp_job": "digits-1", "dbp_attempt": "1"}'
        return 200, f'[{{"submission_id": "digits-1", "status": "PENDING", "message": "", "metadata": {metadata}}}]'
    return 404, "no such page"


def test_no_service_and_no_address_names_both_ways_out(dbp: Dbp, job: Path) -> None:
    dbp("submit", job).refuses("no service is known here", "dbp up", "--address")


@pytest.mark.parametrize("command", [("submit", "job.yaml"), ("list",), ("status", "a-1"), ("cancel", "a-1")])
def test_an_address_where_nothing_listens(dbp: Dbp, job: Path, command: tuple[str, ...]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    dbp(*command, "--address", address).refuses(address, "cannot be reached", "connection refused")


def test_an_address_that_takes_the_call_and_says_nothing(dbp: Dbp, job: Path) -> None:
    """Answered within seconds: the server of this test never answers, so that the command ends at all is the test."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        dbp("submit", job, "--address", address).refuses(address, "no answer in time")


def test_a_name_that_no_host_has(dbp: Dbp, job: Path) -> None:
    dbp("submit", job, "--address", "http://no-such-host.invalid:8265").refuses(
        "no-such-host.invalid", "cannot be reached"
    )


@pytest.mark.parametrize(
    "address", ["ray://head:10001", "ftp://head:21", "head", "http://", "http://u:p@h:1", "a b:1", "http://h:99999"]
)
def test_an_address_that_is_none(dbp: Dbp, job: Path, address: str) -> None:
    dbp("submit", job, "--address", address).refuses("is not the address of a service", "http://")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>hello"),
        (200, '{"a": 1}'),
        (200, "[" * 100_000),
        (404, "nothing here"),
        (500, "oops"),
        (302, "http://127.0.0.1:1/"),
    ],
)
def test_a_web_server_that_is_not_ray(dbp: Dbp, job: Path, server, status: int, body: str) -> None:
    """No token is sent to it, and no redirect is followed."""
    seen: list[str | None] = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> tuple[int, str]:
        seen.append(request.headers.get("Authorization"))
        return status, body

    dbp("submit", job, "--address", server(answer), "--token-file", "token").refuses("not a Ray dashboard")
    assert seen == [None]


def test_a_server_that_speaks_no_http(dbp: Dbp, job: Path) -> None:
    with socket.socket() as odd:
        odd.bind(("127.0.0.1", 0))
        odd.listen()

        def talk() -> None:
            connection, _ = odd.accept()
            connection.sendall(b"\x00\x00\x18\x04\x1b]0;owned\x07\r\n")
            connection.close()

        threading.Thread(target=talk, daemon=True).start()
        dbp("submit", job, "--address", f"127.0.0.1:{odd.getsockname()[1]}").refuses("speaks no HTTP")


def test_a_service_that_lets_anybody_in_is_refused(dbp: Dbp, job: Path, server) -> None:
    address = server(lambda _: (200, '{"ray_version": "2.60.0"}'))
    dbp("submit", job, "--address", address).refuses("lets anybody in", "--insecure")


def test_a_missing_and_a_wrong_token_are_one_clear_line(dbp: Dbp, job: Path, server, tmp_path: Path) -> None:
    address = server(ray_like)
    dbp("submit", job, "--address", address).refuses("asks for a token, and there is none", "--token-file")
    (tmp_path / "wrong").write_text("another\n")
    (tmp_path / "wrong").chmod(0o600)
    dbp("submit", job, "--address", address, "--token-file", "wrong").refuses("does not accept the token")
    dbp("submit", job, "--address", address, "--token-file", "gone").refuses("gone: no such token file")
    (tmp_path / "odd").write_bytes(b"\xff\xfe two words\n")
    dbp("submit", job, "--address", address, "--token-file", "odd").refuses("not a token")


def test_a_token_that_travels_in_clear_is_told(dbp: Dbp, job: Path, server) -> None:
    """To this machine's own address it does not travel; to any other without https it does. (0.0.0.0 leads here.)"""
    address, told = server(ray_like), "is not https: the token and the data travel in clear"
    assert told not in dbp("status", "digits-1", "--address", address, "--token-file", "token").err
    elsewhere = address.replace("127.0.0.1", "0.0.0.0")
    assert told in dbp("status", "digits-1", "--address", elsewhere, "--token-file", "token").err


@pytest.mark.parametrize("command", ["status", "cancel", "logs", "watch", "checkpoints", "fetch", "resume"])
def test_an_unknown_job_suggests_the_nearest(dbp: Dbp, job: Path, server, command: str) -> None:
    ran = dbp(command, "digit-1", "--address", server(ray_like), "--token-file", "token")
    ran.refuses('"digit-1"', "did you mean digits-1?")


def test_an_unknown_job_where_no_service_is_known(dbp: Dbp, job: Path) -> None:
    dbp("delete", "digit-1", "--yes").refuses("no job of that id in runs")


@pytest.mark.parametrize("name", ["", ".", "../x", "a b", "$(id)", "x" * 200, "\x1b[31m", "größe"])
def test_odd_job_ids_reach_no_service(dbp: Dbp, job: Path, server, name: str) -> None:
    asked: list[str] = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> tuple[int, str]:
        asked.append(request.path)
        return ray_like(request)

    ran = dbp("status", name, "--address", server(answer), "--token-file", "token")
    ran.refuses("cannot be a job id")
    assert set(asked) == {"/api/version"}


def test_a_step_that_is_none(dbp: Dbp, job: Path) -> None:
    dbp("fetch", "a-1", "--step", "often").refuses("--step often", "expected a number, best or last")


def test_a_server_that_never_stops_talking(dbp: Dbp, job: Path) -> None:
    """A byte now and then is no silence: the whole answer has a time limit, too."""
    with socket.socket() as endless:
        endless.bind(("127.0.0.1", 0))
        endless.listen()

        def talk() -> None:
            connection, _ = endless.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while True:
                    connection.sendall(b"x")
                    time.sleep(0.5)

        threading.Thread(target=talk, daemon=True).start()
        dbp("submit", job, "--address", f"127.0.0.1:{endless.getsockname()[1]}").refuses("no answer in time")
