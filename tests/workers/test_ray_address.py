"""`--address` where no Ray is: one line within seconds, whoever answers there or doesn't; and where one is, none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import ray
from ray._private import services
from ray_nodes import free_ports

from dbp.errors import InputError
from dbp.workers.local_ray import cluster_ray
from dbp.workers.ray_address import answering_address


@contextmanager
def server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Take one connection on a port of this machine and lend the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            connection, _ = listening.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=take)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def web(connection: socket.socket) -> None:
    connection.recv(100)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def silent(connection: socket.socket) -> None:
    while connection.recv(100):
        pass


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said by what connects to Ray, before Ray is asked: with what was asked, what was seen, and what to do."""

    def asked(**_: object) -> None:
        raise AssertionError("Ray was asked")

    monkeypatch.setattr(ray, "init", asked)
    port = free_ports(1)[0]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", f"[::1]:{port}"):
        with pytest.raises(InputError) as refusal, cluster_ray(address):
            pass
        text = str(refusal.value)
        assert text.startswith(f"--address {address}: no Ray cluster answers there (")
        assert "leave --address out" in text
        assert "\n" not in text


def test_the_address_that_auto_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=rf"--address auto \(Ray found {address}\): no Ray cluster answers"):
        answering_address("auto")


def test_auto_where_no_ray_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where one is that this process cannot reach, as in another network namespace."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: None)
    with pytest.raises(InputError, match=r"--address auto: no Ray cluster answers there \(Could not find any"):
        answering_address("auto")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: {address})
    with pytest.raises(InputError, match=rf"--address auto \(Ray found {address}\): no Ray cluster answers"):
        answering_address("auto")


def test_something_else_answers() -> None:
    with server(web) as port, pytest.raises(InputError, match=f"127.0.0.1:{port}: .*something else than Ray takes"):
        answering_address(f"127.0.0.1:{port}")


def test_somebody_is_silent() -> None:
    with server(silent) as port, pytest.raises(InputError, match=r"no answer within 0\.2 s"):
        answering_address(f"127.0.0.1:{port}", limit_s=0.2)


@pytest.mark.parametrize(
    "address", ["nonsense", "host:", ":6379", "host:0", "host:65536", "http://host:8265", "host:٣"]
)
def test_no_address(address: str) -> None:
    with pytest.raises(InputError, match=r"is no address of a Ray cluster; expected host:port"):
        answering_address(address)


@pytest.mark.usefixtures("local_ray")
def test_a_ray_that_is_there() -> None:
    address = ray.get_runtime_context().gcs_address
    assert answering_address(address, limit_s=60) == address
