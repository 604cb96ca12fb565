"""A real S3-compatible server (moto's) on a free loopback port, one for all tests."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

SETTINGS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "canary-secret", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class S3:
    """Where it listens. `url` of a new bucket for each test; `requests` are "METHOD path" of all that it was asked."""

    endpoint: str
    bucket: str
    requests: list[str]
    failing: list[Callable[[str, str], int | None]]  # of method and path: the status to answer with instead

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    @property
    def client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=self.endpoint)

    def require_credentials(self, required: bool) -> None:
        """Have it look at access keys, which it otherwise does not."""
        data = b"0" if required else b"inf"
        asked = urllib.request.Request(
            f"{self.endpoint}/moto-api/reset-auth", data, {"Content-Type": "text/plain"}, method="POST"
        )
        urllib.request.urlopen(asked).close()


@dataclass(frozen=True)
class _Server:
    endpoint: str
    requests: list[str]
    failing: list[Callable[[str, str], int | None]]


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[_Server]:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    moto = DomainDispatcherApplication(create_backend_app)
    requests: list[str] = []
    failing: list[Callable[[str, str], int | None]] = []
    # S3 decides about a key in one step. moto looks whether the key is there (If-None-Match) and then writes it, in two steps, so
    # it is given one request at a time.
    one_at_a_time = threading.Lock()

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        requests.append(f"{method} {path}{' ' + environ['HTTP_RANGE'] if 'HTTP_RANGE' in environ else ''}")
        for status in filter(None, (fault(method, path) for fault in failing)):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            codes = {503: "SlowDown", 403: "AccessDenied", 507: "InsufficientStorage"}
            start(f"{status} No", [("Content-Type", "application/xml")])
            return [f"<Error><Code>{codes[status]}</Code><Message>told to fail</Message></Error>".encode()]
        with one_at_a_time:
            return list(moto(environ, start))

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: Any) -> None:
            pass

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield _Server(f"http://127.0.0.1:{server.server_port}", requests, failing)
    server.shutdown()
    thread.join()


@pytest.fixture
def s3(_s3_server: _Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[S3]:
    """An empty bucket, and the environment that leads to it."""
    for name, value in {**SETTINGS, "AWS_ENDPOINT_URL": _s3_server.endpoint}.items():
        monkeypatch.setenv(name, value)
    bucket = f"test-{abs(hash(request.node.nodeid)):x}"
    place = S3(_s3_server.endpoint, bucket, _s3_server.requests, _s3_server.failing)
    place.client.create_bucket(Bucket=bucket)
    place.requests.clear()
    yield place
    place.failing.clear()


@pytest.fixture(autouse=True)
def _own_working_folder(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Working folders of jobs at URIs, and none of this machine's AWS settings."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
