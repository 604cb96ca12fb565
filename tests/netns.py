"""Machines on this machine: network namespaces with addresses of their own, joined by a bridge in one more. Root only."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_NET = "10.77.{}.{}"


def why_not() -> str | None:
    """Why there can be none here; None where there can."""
    if os.geteuid() != 0:
        return "network namespaces are made by root only"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2 (the command ip)"
    name = f"dbp{os.getpid()}probe"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    bridge = subprocess.run(["ip", "-n", name, "link", "add", "br0", "type", "bridge"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], check=True)
    return f"no bridges here: {bridge.stderr.strip()}" if bridge.returncode else None


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Machine:
    """One of them."""

    name: str  # of its namespace
    ip: str
    hub: str

    @property
    def prefix(self) -> Sequence[str]:
        """What a command that runs there begins with."""
        return ("ip", "netns", "exec", self.name)

    def link(self, state: str) -> None:
        """Cut (down) or mend (up) its cable."""
        _ip("-n", self.hub, "link", "set", f"to-{self.name[-1]}", state)


@contextlib.contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """Make so many, which see each other and nothing else. They are taken away at the end; end their processes before."""
    prefix, net = f"dbp{os.getpid()}", os.getpid() % 250 + 1
    hub = f"{prefix}hub"
    made = [Machine(f"{prefix}n{number}", _NET.format(net, number + 1), hub) for number in range(count)]
    with contextlib.ExitStack() as cleaning:

        def add(name: str) -> None:
            _ip("netns", "add", name)
            cleaning.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True)

        add(hub)
        _ip("-n", hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", hub, "link", "set", "br0", "up")
        for machine in made:
            add(machine.name)
            port = f"to-{machine.name[-1]}"
            _ip("-n", machine.name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", hub)
            _ip("-n", hub, "link", "set", port, "master", "br0", "up")
            _ip("-n", machine.name, "addr", "add", f"{machine.ip}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", machine.name, "link", "set", device, "up")
            _ip("-n", machine.name, "route", "add", "default", "dev", "eth0")
        yield made
