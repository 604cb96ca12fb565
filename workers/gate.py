"""How a worker finds the driver and each proves to the other that it belongs to the pool.

The driver opens a gate: a Unix socket without a file (Linux's abstract names) for workers on its machine and, where the cluster has
other machines, a TCP port on the address by which the cluster knows it. Ray hands each worker the gate's `Address`, which holds a
secret of 32 random bytes. Both ends answer the other's challenge with an HMAC before anything else is read, so a stranger who
finds the gate gets nowhere, and the wait for him is bounded. What goes through is not encrypted, as in Ray itself; where Ray is
told to encrypt (RAY_USE_TLS), no TCP port is opened, and workers on other machines are called through Ray.
"""

from __future__ import annotations

import hmac
import os
import queue
import secrets
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from dbp.workers.link import Link
from dbp.workers.shared_memory import Board, View, supported

_NONCE = 32
_PROOF = 32
_HELLO = struct.Struct("<QQ")  # worker, process id
HANDSHAKE_S = 5.0  # for a stranger, or a slow friend
CONNECT_S = 10.0


@dataclass(frozen=True)
class Address:
    """Where the gate is and what opens it. The secret is not shown."""

    local: bytes | None  # name of the Unix socket
    remote: tuple[str, int] | None  # host and port
    secret: bytes = field(repr=False)

    def connect(self, worker: int) -> Link:
        """Return the worker's end of a link to the driver. ConnectionError when there is no way."""
        reasons = []
        for family, place in ((getattr(socket, "AF_UNIX", None), self.local), (socket.AF_INET, self.remote)):
            if family is None or place is None:
                continue
            connection = socket.socket(family)
            connection.settimeout(CONNECT_S)
            try:
                connection.connect(place)
                return self._introduce(connection, worker)
            except OSError as error:
                connection.close()
                reasons.append(f"{place!r}: {error}")
        raise ConnectionError("; ".join(reasons) or "there is no gate to another machine")

    def _introduce(self, connection: socket.socket, worker: int) -> Link:
        theirs = _exactly(connection, _NONCE)
        mine = secrets.token_bytes(_NONCE)
        connection.sendall(_proof(self.secret, b"worker", theirs) + mine + _HELLO.pack(worker, os.getpid()))
        if not hmac.compare_digest(_exactly(connection, _PROOF), _proof(self.secret, b"driver", mine)):
            raise ConnectionError("whoever answers there does not know the secret")
        if connection.family == socket.AF_INET:
            return Link(connection, None, None)
        outgoing = Board()
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
        socket.send_fds(connection, [b"b"], [outgoing.descriptor])
        return Link(connection, outgoing, View(descriptors[0]))


@dataclass(frozen=True)
class Arrival:
    """A worker that has come through the gate."""

    worker: int
    pid: int
    link: Link


class Gate:
    """The driver's end. `board` is where it writes for all workers on its machine."""

    def __init__(self, board: Board | None) -> None:
        self._board = board
        self._secret = secrets.token_bytes(32)
        self._local: socket.socket | None = None
        self._remote: socket.socket | None = None
        self._arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        if supported and board is not None:
            self._local = socket.socket(socket.AF_UNIX)
            self._local.bind(b"\0dbp-" + secrets.token_hex(16).encode())
            self._listen(self._local)

    def open_to(self, host: str) -> None:
        """Let workers of other machines in, by a port on `host`, an address of this machine."""
        if self._remote is None:
            self._remote = socket.socket(socket.AF_INET)
            self._remote.bind((host, 0))
            self._listen(self._remote)

    @property
    def address(self) -> Address:
        """What workers are given."""
        local = None if self._local is None else self._local.getsockname()
        remote = None if self._remote is None else self._remote.getsockname()
        return Address(local, remote, self._secret)

    def fileno(self) -> int:
        """The number to wait on for an arrival."""
        return self._bell.fileno()

    def arrival(self) -> Arrival | None:
        """Return a worker that has arrived, if one has."""
        with suppress(BlockingIOError):
            self._bell.recv(1)
            return self._arrivals.get_nowait()
        return None

    def close(self) -> None:
        """Close the gate; links stay."""
        for place in (self._local, self._remote):
            if place is not None:
                with suppress(OSError):  # wakes whoever is in accept
                    place.shutdown(socket.SHUT_RDWR)
                place.close()
        self._bell.close()
        self._button.close()

    def _listen(self, place: socket.socket) -> None:
        place.listen(64)
        threading.Thread(target=self._attend, args=(place,), name="dbp-gate", daemon=True).start()

    def _attend(self, place: socket.socket) -> None:
        """Take in whoever proves that he is a worker. A stranger costs others a moment, training nothing."""
        while True:
            try:
                connection, _ = place.accept()
            except OSError:
                return  # closed
            try:
                connection.settimeout(HANDSHAKE_S)
                arrival = self._examine(connection)
                self._arrivals.put(arrival)
                self._button.send(b"!")
            except OSError:
                connection.close()

    def _examine(self, connection: socket.socket) -> Arrival:
        mine = secrets.token_bytes(_NONCE)
        connection.sendall(mine)
        answer = _exactly(connection, _PROOF + _NONCE + _HELLO.size)
        proof, theirs, hello = answer[:_PROOF], answer[_PROOF : _PROOF + _NONCE], answer[_PROOF + _NONCE :]
        if not hmac.compare_digest(proof, _proof(self._secret, b"worker", mine)):
            raise ConnectionError("a stranger")
        worker, pid = _HELLO.unpack(hello)
        connection.sendall(_proof(self._secret, b"driver", theirs))
        if connection.family == socket.AF_INET or self._board is None:
            return Arrival(worker, pid, Link(connection, None, None))
        socket.send_fds(connection, [b"b"], [self._board.descriptor])
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
        if not descriptors:
            raise ConnectionError("a worker without a board")
        return Arrival(worker, pid, Link(connection, self._board, View(descriptors[0])))


def _proof(secret: bytes, who: bytes, nonce: bytes) -> bytes:
    return hmac.digest(secret, who + b"\0" + nonce, "sha256")


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        got = connection.recv(size - len(data))
        if not got:
            raise ConnectionError("the other end has closed")
        data += got
    return data
