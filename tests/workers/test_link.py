"""Links between the driver and its workers: real sockets, real shared memory, both ends in one process."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest

from dbp.workers.gate import Address, Gate
from dbp.workers.link import Beat, Link, LinkClosedError
from dbp.workers.packing import APART_BYTES
from dbp.workers.shared_memory import Board, View


@contextmanager
def gate(remote: bool = False) -> Iterator[tuple[Gate, Board | None]]:
    board = None if remote else Board()
    made = Gate(board)
    if remote:
        made.open_to("127.0.0.1")
    try:
        yield made, board
    finally:
        made.close()


@contextmanager
def both_ends(remote: bool) -> Iterator[tuple[Link, Link, Board | None]]:
    """The driver's end, the worker's end, and the board that the driver writes on."""
    with gate(remote) as (door, board):
        there = door.address.connect(7)
        here = arrival(door)
        assert here.worker == 7
        yield here.link, there, board
        here.link.close()
        there.close()


def arrival(door: Gate):
    import select

    assert select.select([door], [], [], 10)[0]
    found = door.arrival()
    assert found is not None
    return found


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("size", [0, 1, APART_BYTES // 8 - 1, APART_BYTES // 8, 300_000])
def test_arrays_arrive_as_they_were_sent(remote, size):
    """Small ones in the message, large ones in shared memory or along the connection; in both directions."""
    sent = {"a": np.arange(size, dtype=np.float64), "b": [np.full(size, -0.0, np.float32), "text"]}
    with both_ends(remote) as (driver, worker, _):
        for one, other, own_board in ((driver, worker, False), (worker, driver, True), (worker, driver, True)):
            answer: list[object] = []
            reader = threading.Thread(target=lambda end=other, into=answer: into.append(end.receive()))
            reader.start()
            one.send(sent, own_board=own_board)
            reader.join(20)
            got = answer[0]
            assert got["a"].tobytes() == sent["a"].tobytes()
            assert got["b"][0].tobytes() == sent["b"][0].tobytes()
            assert got["b"][1] == "text"


def test_between_machines_no_memory_is_shared_and_on_one_it_is():
    with both_ends(remote=True) as (driver, worker, _):
        assert not driver.shares_memory
        assert not worker.shares_memory
    with both_ends(remote=False) as (driver, worker, _):
        assert driver.shares_memory
        assert worker.shares_memory


def test_what_lies_on_the_board_is_written_once_and_read_in_place_by_all():
    with gate() as (door, board):
        ends = [(door.address.connect(number), arrival(door).link) for number in range(2)]
        vector = np.arange(100_000, dtype=np.float32)
        _, memory = board.put(vector.data.cast("B"))
        on_board = np.frombuffer(memory, np.float32)
        for _, driver in ends:
            driver.send(on_board, own_board=False)
        got = [worker.receive() for worker, _ in ends]
        on_board[3] = -1  # a reader that sees it reads the very memory
        assert [view[3] for view in got] == [-1, -1]
        assert not any(view.flags.writeable for view in got)
        for worker, driver in ends:
            worker.close()
            driver.close()


def test_a_board_grows_and_its_reader_follows():
    board = Board()
    view = View(board.descriptor)
    for size in (10, 5_000, 3_000_000):
        data = np.random.default_rng(size).bytes(size)
        place, _ = board.put(memoryview(data))
        assert bytes(view.at(place, size)) == data
    with pytest.raises(ValueError, match="of a board of"):
        view.at(0, 10_000_000)
    board.close()


@pytest.mark.parametrize("remote", [False, True])
def test_a_closed_end_is_noticed_at_once(remote):
    with both_ends(remote) as (driver, worker, _):
        worker.close()
        with pytest.raises(LinkClosedError):
            driver.receive()
        with pytest.raises(LinkClosedError):  # more than any socket's buffers take
            driver.send(b"x" * (64 << 20), own_board=False)


@pytest.mark.parametrize("remote", [False, True])
def test_nobody_comes_in_without_the_secret(remote):
    with gate(remote) as (door, _):
        stranger = replace(door.address, secret=b"guessed" * 5)
        with pytest.raises(ConnectionError):
            stranger.connect(0)
        assert door.arrival() is None


def test_a_worker_does_not_talk_to_a_driver_without_the_secret():
    """Somebody else listens where the driver was."""
    impostor = socket.socket()
    impostor.bind(("127.0.0.1", 0))
    impostor.listen()
    heard: list[bytes] = []

    def pretend() -> None:
        connection, _ = impostor.accept()
        connection.sendall(b"n" * 32)
        heard.append(connection.recv(4096))
        connection.sendall(b"p" * 32)
        heard.append(connection.recv(4096))

    thread = threading.Thread(target=pretend)
    thread.start()
    with pytest.raises(ConnectionError, match="does not know the secret"):
        Address(None, impostor.getsockname(), b"s" * 32).connect(3)
    thread.join(10)
    impostor.close()
    assert b"s" * 32 not in b"".join(heard)
    assert heard[1:] == [b""]


def test_the_secret_is_not_shown():
    with gate() as (door, _):
        assert repr(door.address.secret) not in repr(door.address)


@pytest.mark.parametrize("remote", [False, True])
def test_signs_of_life_come_between_messages(remote):
    """Also while a message is being sent by another thread: they never fall into its middle."""
    large = np.arange(500_000, dtype=np.float64)
    with both_ends(remote) as (driver, worker, _):
        ended = threading.Event()

        def beat() -> None:
            with suppress(LinkClosedError):
                while not ended.is_set():
                    worker.beat()

        heart = threading.Thread(target=beat)
        heart.start()
        sender = threading.Thread(target=lambda: [worker.send({"large": large}, own_board=True) for _ in range(5)])
        sender.start()
        messages, beats = 0, 0
        while messages < 5 or not beats:
            found = driver.receive()
            if isinstance(found, Beat):
                beats += 1
            else:
                messages += 1
                assert found["large"].tobytes() == large.tobytes()
        ended.set()
        sender.join(20)
        driver.close()  # wakes a heart that is blocked
        heart.join(20)


def test_the_peer_of_a_link_on_this_machine_is_known_by_its_process():
    with both_ends(remote=False) as (driver, _, _):
        assert driver.peer() == os.getpid()
    with both_ends(remote=True) as (driver, _, _):
        assert driver.peer() == 0


def test_who_stops_in_the_middle_of_a_message_is_given_up():
    with both_ends(remote=False) as (driver, worker, _):
        driver.bound(0.2)
        worker._connection.sendall(b"half a head"[:6])
        with pytest.raises(LinkClosedError):
            driver.receive()


def test_a_slow_link_is_none_that_stopped():
    """Between machines: a message that takes longer than the bound, and never stops for as long, arrives."""
    large = np.arange(3_000_000, dtype=np.float64)
    with both_ends(remote=True) as (driver, worker, _):
        driver.bound(1.0)
        sender = threading.Thread(target=driver.send, args=({"large": large}, False))
        sender.start()
        plain = worker._connection.recv_into

        class Slow:
            """Takes 256 KiB every 20 ms: 24 MB in two seconds."""

            def recv_into(self, data):
                time.sleep(0.02)
                return plain(data[: 256 << 10])

            def __getattr__(self, name):
                return getattr(connection, name)

        connection = worker._connection
        worker._connection = Slow()
        began = time.monotonic()
        found = worker.receive()
        assert time.monotonic() - began > 1.0
        sender.join(20)
        assert found["large"].tobytes() == large.tobytes()


@pytest.mark.parametrize("remote", [False, True])
def test_what_arrives_together_is_read_one_by_one(remote):
    """A sign of life and a message in one call to the kernel: the end that waits for its connection is told of the second."""
    with both_ends(remote) as (driver, worker, _):
        worker.beat()
        worker.send({"first": np.arange(300)}, own_board=True)
        worker.send("x" * 50_000, own_board=True)
        worker.beat()
        assert isinstance(driver.receive(), Beat)
        assert driver.has_more
        assert driver.receive()["first"].tolist() == list(range(300))
        assert driver.receive() == "x" * 50_000
        assert isinstance(driver.receive(), Beat)
        assert not driver.has_more
