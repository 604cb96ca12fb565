"""HTTP to one server, with a time limit for everything and no surprises: no proxies, no redirects, no endless answers.

The standard library alone, so that talking to a service neither imports Ray nor hangs where Ray's own client would.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from dbp.errors import ServiceError
from dbp.jobs.wording import printable, show

CONNECT_SECONDS = 4.0
ANSWER_SECONDS = 30.0
_MOST_BYTES = 512 << 20
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes


class Door:
    """A server at `address` (``http://host:8265`` or ``https://...``, perhaps with a path before all others)."""

    def __init__(self, address: str) -> None:
        self.address = printable(address)
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            raise _no_address(address) from None
        if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None or parts.query:
            raise _no_address(address)
        self.host, self.port = parts.hostname, port or _PORTS[parts.scheme]
        self.secure = parts.scheme == "https"
        self._prefix = parts.path.rstrip("/")

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
        most: int = _MOST_BYTES,
    ) -> Answer:
        """Send a request and return the answer, whatever its status. ServiceError when there is none within `seconds`."""
        connection: http.client.HTTPConnection
        try:
            with closing(http.client.HTTPConnection(self.host, self.port, timeout=seconds)) as connection:
                connection.sock = self._connect(min(seconds, CONNECT_SECONDS))
                connection.sock.settimeout(seconds)
                with _hanging_up(connection.sock, seconds):
                    connection.request(method, self._prefix + path, body, dict(headers or {}))
                    response = connection.getresponse()
                    data = response.read(most + 1)
        except (http.client.HTTPException, ssl.SSLError, UnicodeError) as error:
            raise ServiceError(
                f"{self.address}: something answers there, but not as a Ray dashboard does ({_words(error)}); "
                "expected the address of a Ray dashboard, such as http://host:8265"
            ) from error
        except OSError as error:
            raise ServiceError(
                f"{self.address}: cannot be reached: {_words(error)}; is the service up, and the address right?"
            ) from error
        if len(data) > most:
            raise ServiceError(f"{self.address}: answers {method} {path} with more than {most:,} bytes; expected fewer")
        return Answer(response.status, data)

    def _connect(self, seconds: float) -> socket.socket:
        deadline = time.monotonic() + seconds
        problem: OSError = TimeoutError("timed out")
        for family, kind, protocol, _, place in self._places(seconds):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            plain = socket.socket(family, kind, protocol)
            try:
                plain.settimeout(left)
                plain.connect(place)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if not self.secure:
                    return plain
                return ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
            except OSError as error:
                plain.close()
                problem = error
        raise problem

    def _places(self, seconds: float) -> list[_Place]:
        """Look the host up, in a thread: the system's resolver has no time limit of its own."""
        found: list[_Place] = []
        problems: list[OSError] = []

        def look_up() -> None:
            try:
                found.extend(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                problems.append(error if isinstance(error, OSError) else OSError(str(error)))

        thread = threading.Thread(target=look_up, daemon=True)
        thread.start()
        thread.join(seconds)
        if problems:
            raise OSError(f"no such host ({problems[0].strerror or problems[0]})")
        if not found:
            raise TimeoutError("its name could not be looked up in time")
        return found


@contextmanager
def _hanging_up(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Hang up when the block takes longer: a server that sends a byte now and then is never silent. TimeoutError then."""
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        if late.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError


_Place = tuple[
    socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time" if str(error) in ("", "timed out") else str(error)
    if isinstance(error, http.client.RemoteDisconnected):
        return "it hung up"
    if isinstance(error, http.client.HTTPException):
        return "it speaks no HTTP"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(reason or type(error).__name__).lower()[:200]


def _no_address(text: str) -> ServiceError:
    hint = "; ray:// is the address of Ray's own client" if text.startswith("ray://") else ""
    return ServiceError(f"{show(text)}: not the address of a service; expected http://host:8265 or host:8265{hint}")
