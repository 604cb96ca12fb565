"""What `ray start` of the local service leaves out. Ray calls it (RAY_START_HOOK) with its parameters before it starts anything."""

from __future__ import annotations

from typing import Protocol


class StartParameters(Protocol):
    """The part of Ray's parameters that is changed here."""

    ray_client_server_port: int | None


def leave_out_client_server(parameters: StartParameters, head: bool) -> None:
    """Start no Ray client server (`ray://`): dbp does not use it, and no option of `ray start` leaves it out."""
    parameters.ray_client_server_port = None
