"""A link: one connection between the driver and a worker, that carries whole messages.

    frame = head | table | body | arrays that travel along
    head  = length of the body, number of large arrays
    table = for each large array: its length, and where it lies in shared memory (or that it travels along)

On one machine the link is a Unix socket and large arrays lie in memory that both ends share (see `shared_memory`): they are
written once and read in place. Between machines it is a TCP connection and arrays travel along. Nobody spins: whoever waits sleeps
in the kernel. A process that dies closes its links, so the other end learns of it at once.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from dbp.workers.packing import Packed, pack, unpack
from dbp.workers.shared_memory import Board, View

_HEAD = struct.Struct("<QI")
_ENTRY = struct.Struct("<Qq")
_CREDENTIALS = struct.Struct("3i")  # process, user, group
_PIECE = 1 << 20  # bytes
_INBOX = 4096  # bytes; more than a message of a step has, so that it is taken in one call to the kernel
_ALONG = -1  # in the place of an array's place: it travels along
_BEAT = _HEAD.pack(0, 0)  # no message has an empty body
_SLICES = 10  # of a bound: of the time that this process was stopped itself, one counts

# A peer that answers nothing, not even the kernel's own signs of life, for this long is gone. A cut cable may be mended before.
SILENCE_S = 90


class Beat:
    """A sign of life, in the place of a message."""


class LinkClosedError(ConnectionError):
    """The other end has gone."""


class Link:
    """One end. `outgoing` is written by this end, `incoming` by the other; both None where memory cannot be shared."""

    def __init__(self, connection: socket.socket, outgoing: Board | None, incoming: View | None) -> None:
        self._connection = connection
        self._outgoing, self._incoming = outgoing, incoming
        self._sending = threading.Lock()  # a beat must not fall into the middle of a message
        self._inbox = memoryview(bytearray(_INBOX))
        self._first = self._last = 0  # of what was received and not yet read
        connection.settimeout(None)
        if connection.family != getattr(socket, "AF_UNIX", None):
            _watch(connection)

    @property
    def shares_memory(self) -> bool:
        """Whether both ends are on one machine."""
        return self._incoming is not None

    def peer(self) -> int:
        """Return the process id of the other end as it is seen from here; 0 where it is not."""
        if not self.shares_memory or not hasattr(socket, "SO_PEERCRED"):
            return 0
        credentials = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid: int = _CREDENTIALS.unpack(credentials)[0]
        return pid

    def host(self) -> str:
        """Return the address of the machine that the other end is on, in words for this one."""
        if self._connection.family == getattr(socket, "AF_UNIX", None):
            return "this machine"
        with suppress(OSError):
            return str(self._connection.getpeername()[0])
        return "a machine that is gone"

    def fileno(self) -> int:
        """The number to wait on."""
        return self._connection.fileno()

    def send(self, message: object, own_board: bool) -> None:
        """Send a message; raises LinkClosedError.

        With `own_board` the board is this message's alone: its arrays are put there, over the last one's. Else only what lies on
        the board already is told by its place, and other arrays travel along.
        """
        packed = pack(message)
        if self._outgoing is not None and own_board:
            self._outgoing.clear()
        places = [self._place(array, own_board) for array in packed.arrays]
        head = _HEAD.pack(len(packed.body), len(places))
        table = b"".join(_ENTRY.pack(array.nbytes, place) for array, place in zip(packed.arrays, places, strict=True))
        try:
            with self._sending:
                self._send(memoryview(head + table + packed.body))
                for array, place in zip(packed.arrays, places, strict=True):
                    if place == _ALONG:
                        self._send(array)
        except OSError as error:
            raise LinkClosedError(str(error)) from error

    def beat(self) -> None:
        """Send a sign of life, from any thread; raises LinkClosedError."""
        try:
            with self._sending:
                self._send(memoryview(_BEAT))
        except OSError as error:
            raise LinkClosedError(str(error)) from error

    def bound(self, seconds: float) -> None:
        """From now on the other end may stop in the middle of a message, either way, for so long: LinkClosedError then."""
        self._connection.settimeout(seconds / _SLICES)

    def _send(self, data: memoryview) -> None:
        done = silent = 0
        while done < data.nbytes:
            try:  # the bound is for a piece: a slow link is none that stopped
                done += self._connection.send(data[done : done + _PIECE])
                silent = 0
            except TimeoutError:
                silent += 1
                if silent == _SLICES:
                    raise

    def _place(self, array: memoryview, own_board: bool) -> int:
        if self._outgoing is None:
            return _ALONG
        place = self._outgoing.place_of(array)
        if place is None:
            place = self._outgoing.put(array)[0] if own_board else _ALONG
        return place

    def receive(self) -> object:
        """Wait for a message, or for a Beat; raises LinkClosedError.

        Its large arrays may lie in shared memory: the sender writes over them with its next message.
        """
        length, count = _HEAD.unpack(self._few(_HEAD.size))
        if not length:
            return Beat()
        table = [_ENTRY.unpack(self._few(_ENTRY.size)) for _ in range(count)]
        body = bytes(self._few(length) if length <= _INBOX else self._exactly(length))
        return unpack(Packed(body, [self._array(size, place) for size, place in table]))

    @property
    def has_more(self) -> bool:
        """Whether more has arrived than was read: nothing to wait for on the connection, `receive` goes on with it."""
        return self._first < self._last

    def _array(self, size: int, place: int) -> memoryview:
        if place == _ALONG:
            return self._exactly(size).toreadonly()
        if self._incoming is None:
            raise LinkClosedError("an array in shared memory, which this link has not")
        return self._incoming.at(place, size)

    def _few(self, size: int) -> memoryview:
        """Return the next bytes, at most _INBOX of them, valid until the next call."""
        if self._last - self._first < size:
            rest = self._last - self._first
            self._inbox[:rest] = bytes(self._inbox[self._first : self._last])
            self._first, self._last = 0, rest
            while self._last < size:
                self._last += self._receive_into(self._inbox[self._last :])
        self._first += size
        return self._inbox[self._first - size : self._first]

    def _exactly(self, size: int) -> memoryview:
        # numpy's memory is aligned and not cleared first.
        data = np.empty(size, np.uint8).data
        done = min(size, self._last - self._first)
        data[:done] = self._inbox[self._first : self._first + done]
        self._first += done
        while done < size:
            done += self._receive_into(data[done:])
        return data

    def _receive_into(self, room: memoryview) -> int:
        """Wait for bytes; return how many there were, at least one."""
        for _ in range(_SLICES):
            try:
                got = self._connection.recv_into(room)
            except TimeoutError as error:
                silence: OSError = error
                continue
            except OSError as error:
                raise LinkClosedError(str(error)) from error
            if not got:
                raise LinkClosedError("the other end has closed")
            return got
        raise LinkClosedError(str(silence)) from silence

    def close(self) -> None:
        """Close this end. The outgoing board is its owner's to close."""
        self._connection.close()
        if self._incoming is not None:
            self._incoming.close()


def _watch(connection: socket.socket) -> None:
    """Have the kernel find out that the other machine is gone."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options: Sequence[tuple[str, int]] = (
        ("TCP_KEEPIDLE", 15),
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", SILENCE_S // 15),
        ("TCP_USER_TIMEOUT", SILENCE_S * 1000),
    )
    for name, value in options:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
