"""Before anything is handed over: is a service there, is it Ray, does it ask for the token, and is ours the right one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dbp.errors import ServiceError, StorageError
from dbp.jobs.service_config import Service
from dbp.workers.authentication import TokenWarning, find_token, make_token, read_token, set_token_environment
from dbp.workers.jobs_http import ask, jobs_of


@pytest.fixture
def web():
    """A web server; `web(status, body)` makes it answer so, and returns its address. `web.seen` are the headers it got."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            serve.seen.append(dict(self.headers))
            self.send_response(serve.status)
            if serve.status == 302:
                self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
            self.end_headers()
            self.wfile.write(serve.body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()

    def serve(status: int, body: bytes = b"") -> str:
        serve.status, serve.body, serve.seen = status, body, []
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    make_token(file)
    return file


def at(address: str, token=None) -> Service:
    return Service(address, None, token, "--address")


def test_an_answer_that_is_no_list_of_jobs_is_none(web):
    for status, body in ((200, b"{}"), (200, b"\xff"), (500, b"[]")):
        assert jobs_of(web(status, body), None) is None
    assert jobs_of(web(200, b'[{"submission_id": null}, 3]'), None) == []
    assert ask("http://[broken", None) is None


def test_a_new_token_is_for_its_owner_alone_and_another_each_time(tmp_path):
    file = tmp_path / "token"
    previous = os.umask(0)
    try:
        make_token(file)
    finally:
        os.umask(previous)
    assert file.stat().st_mode & 0o777 == 0o600
    first = read_token(file)
    assert len(first) == 43
    make_token(file)
    assert read_token(file) != first
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
    with pytest.raises(StorageError, match="cannot be written"):
        make_token(tmp_path / "missing" / "token")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such token file"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"two words", "not a token"),
        (b"\xff\xfe", "not a token"),
        (b"a" * 5000, "not a token"),
        (b"line\nline", "not a token"),
    ],
)
def test_a_token_file_that_holds_none_is_told(tmp_path, content, says):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    with pytest.raises(ServiceError, match=rf"token: {says}; expected the service's token"):
        read_token(file)


def test_a_token_that_others_can_read_is_told_but_used(token):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = read_token(token)
    token.chmod(0o640)
    with pytest.warns(TokenWarning, match=rf"others on this machine can read.*mode 0640.*chmod 600 {token}"):
        assert read_token(token) == text


def test_tokens_are_found_where_ray_looks(token, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert find_token(at("http://head:8265")) is None
    (tmp_path / ".ray").mkdir()
    make_token(tmp_path / ".ray" / "auth_token")
    assert find_token(at("http://head:8265")) == read_token(tmp_path / ".ray" / "auth_token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    assert find_token(at("http://head:8265")) == read_token(token)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "spoken")
    assert find_token(at("http://head:8265")) == "spoken"
    assert find_token(at("http://head:8265", token)) == read_token(token)


def test_ray_gets_the_name_of_the_file_and_never_the_token(token):
    environment = {"RAY_AUTH_TOKEN": "another", "RAY_AUTH_MODE": "disabled"}
    set_token_environment(environment, token)
    assert environment == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


def test_use_token_after_ray_was_imported_is_a_bug_and_says_so(token):
    code = (
        "import sys, types; sys.modules['ray'] = types.ModuleType('ray')\n"
        "from pathlib import Path\n"
        "from dbp.jobs.service_config import Service\n"
        "from dbp.workers.authentication import use_token\n"
        f"use_token(Service('http://head:8265', None, Path({str(token)!r}), '--address'))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "Ray is imported already" in done.stderr
