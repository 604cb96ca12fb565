"""The doorbell: how the driver sleeps while workers compute.

Waiting on a compiled graph keeps a CPU busy: Ray's read of a channel spins (ray-project/ray pull request 55128, not merged). On a
machine with as many workers as CPUs that spinning is taken from the workers: measured here, two workers were then no
faster than one. So a worker rings a doorbell, one small datagram, when its answer is about to be written, and the driver sleeps
in the kernel until then.

A ring is a hint and nothing else: it carries no result. A lost one costs a moment of spinning, a forged one a look at a channel.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import struct
from dataclasses import dataclass
from functools import cached_property

_RING = struct.Struct("<16sqq")  # secret, worker, call


@dataclass(frozen=True)
class Bell:
    """The worker's end: where and with what to ring."""

    host: str
    port: int
    secret: bytes

    @cached_property
    def _link(self) -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def ring(self, worker: int, call: int) -> None:
        """Tell the driver that the answer to a call is on its way; failing to is no error."""
        with contextlib.suppress(OSError):
            self._link.sendto(_RING.pack(self.secret, worker, call), (self.host, self.port))


@dataclass(frozen=True)
class Ring:
    """Which worker rang, about which call."""

    worker: int
    call: int


class Doorbell:
    """The driver's end."""

    def __init__(self, host: str) -> None:
        self._secret = secrets.token_bytes(16)
        self._link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._link.setblocking(False)
        self._link.bind((host, 0))
        self._host = host

    @property
    def bell(self) -> Bell:
        """What workers are given."""
        return Bell(self._host, self._link.getsockname()[1], self._secret)

    def wait(self, timeout_s: float) -> Ring | None:
        """Sleep until somebody rings; None after `timeout_s` seconds, or when a stranger rang."""
        if not select.select([self._link], [], [], timeout_s)[0]:
            return None
        try:
            message = self._link.recv(_RING.size + 1)
        except BlockingIOError:
            return None
        if len(message) != _RING.size:
            return None
        secret, worker, call = _RING.unpack(message)
        return Ring(worker, call) if secrets.compare_digest(secret, self._secret) else None

    def close(self) -> None:
        """Free the port."""
        self._link.close()
