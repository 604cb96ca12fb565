"""A stand-in for Google Cloud Storage (gcp-storage-emulator's) on a free loopback port, one for all tests.

It does not know conditions (ifGenerationMatch), by which a lease is made once only: those are looked at here.
"""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import pytest

Fault = Callable[[str, str], int | None]


@dataclass
class Google:
    """Where it listens. `url` of a new bucket for each test; `requests` are "METHOD path range" of all that it was asked."""

    endpoint: str
    storage: Any
    bucket: str = ""
    requests: list[str] = field(default_factory=list)
    failing: list[Fault] = field(default_factory=list)  # of method and path: the status to answer with instead

    @property
    def url(self) -> str:
        return f"gs://{self.bucket}"


@pytest.fixture(scope="session")
def _gcs_server() -> Iterator[Google]:
    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage

    place = Google("", Storage(use_memory_fs=True))
    one_at_a_time = threading.Lock()  # a store decides about an object in one step

    class Handler(RequestHandler):
        def _answer(self, ask: Callable[[], None]) -> None:
            method, url = self.command, urlparse(self.path)
            path = unquote(url.path)
            place.requests.append(f"{method} {path} {self.headers.get('Range', '')}".rstrip())
            for status in filter(None, (fault(method, path) for fault in place.failing)):
                self._refuse(status, "told to fail")
                return
            with one_at_a_time:
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if query.get("ifGenerationMatch") == "0" and self._is_there(path, query, body):
                    self._refuse(412, "At least one of the pre-conditions you specified did not hold.")
                    return
                self.rfile = io.BytesIO(body)
                ask()

        def _is_there(self, path: str, query: dict[str, str], body: bytes) -> bool:
            name = query.get("name") or json.loads(body.split(b"\n\n", 2)[1].split(b"\n--", 1)[0])["name"]
            bucket = path.split("/b/", 1)[1].split("/")[0]
            return name in place.storage.objects.get(bucket, {})

        def _refuse(self, status: int, why: str) -> None:
            reply = json.dumps({"error": {"code": status, "message": why}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def do_GET(self) -> None:  # noqa: N802
            self._answer(super().do_GET)

        def do_POST(self) -> None:  # noqa: N802
            self._answer(super().do_POST)

        def do_PUT(self) -> None:  # noqa: N802
            self._answer(super().do_PUT)

        def do_DELETE(self) -> None:  # noqa: N802
            self._answer(super().do_DELETE)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of a client that has enough: gcsfs asks two things at a time and takes the first answer that will do."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    def handler(*arguments: Any) -> Handler:
        return Handler(place.storage, *arguments)

    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    place.endpoint = f"http://127.0.0.1:{server.server_port}"
    yield place
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def gcs(_gcs_server: Google, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Google]:
    """An empty bucket, and the environment that leads to it."""
    from gcp_storage_emulator.handlers.buckets import create_bucket

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", _gcs_server.endpoint)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    _gcs_server.bucket = f"test-{abs(hash(request.node.nodeid)):x}"
    create_bucket(_gcs_server.bucket, _gcs_server.storage)
    _gcs_server.requests.clear()
    yield _gcs_server
    _gcs_server.failing.clear()
