"""Whether a Ray answers at an address, told within seconds: Ray itself asks one that isn't there for minutes."""

from __future__ import annotations

import os
import socket

from dbp.errors import InputError

LIMIT_S = 5.0  # to connect, and once more to hear a first word

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(
    [0, 0, 0, 4, 0, 0, 0, 0, 0]
)  # of HTTP/2, with settings that change nothing
_SETTINGS = 4  # the kind of the frame with which a server of HTTP/2, and so of gRPC, begins
_NEXT = "start one there (ray start --head), mend the address, or leave --address out to compute on this machine"


def answering_address(address: str, limit_s: float = LIMIT_S) -> str:
    """Return the address to give to Ray for this one: `auto` is what Ray finds, RAY_ADDRESS or a Ray of this machine.

    InputError where no Ray answers at host:port or ray://host:port within `limit_s` to connect and to speak.
    """
    asked = address
    if address == "auto":
        address = _found(asked)
        asked = f"auto (Ray found {address})"
    if address == "local":  # a new one
        return address
    host, port = _host_and_port(asked, address)
    try:
        with socket.create_connection((host, port), timeout=limit_s) as connection:
            _hear(connection, limit_s)
    except TimeoutError:
        raise _nobody(asked, f"no answer within {limit_s:g} s") from None
    except OSError as error:
        raise _nobody(asked, error.strerror or str(error)) from None
    return address


def _found(asked: str) -> str:
    # Among Ray's processes it finds any of this machine, also one in a network namespace or container of its own.
    from ray._private.services import get_ray_address_from_environment

    try:
        return str(get_ray_address_from_environment("auto", None))
    except ConnectionError as error:
        raise _nobody(asked, str(error).split(".")[0]) from None


def _host_and_port(asked: str, address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or "/" in host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise InputError(
            f"--address {asked}: is no address of a Ray cluster; expected host:port (Ray's usual port is 6379), "
            "ray://host:port, or auto for the one of this machine"
        )
    return host, int(port)


def _hear(connection: socket.socket, limit_s: float) -> None:
    """Have the server say that it speaks gRPC. TimeoutError, OSError."""
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0", "false"):
        return  # whoever takes connections is asked by Ray, which has the certificates
    connection.settimeout(limit_s)
    connection.sendall(_PREFACE)
    head = b""
    while len(head) < 4 and (more := connection.recv(4 - len(head))):
        head += more
    if len(head) < 4 or head[3] != _SETTINGS:
        raise ConnectionError("something else than Ray takes connections there")


def _nobody(asked: str, why: str) -> InputError:
    return InputError(f"--address {asked}: no Ray cluster answers there ({why}); {_NEXT}")
