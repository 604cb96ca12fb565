"""Machines on this machine: network namespaces of a test's own, joined by a cable, with real processes in them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

REASON = "needs root and iproute2 for network namespaces of its own"
POSSIBLE = os.geteuid() == 0 and shutil.which("ip") is not None


class Machine:
    """One namespace. What was started in it is ended with it."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Start a process in the namespace."""
        with log.open("wb") as output:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, timeout: float = 200
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespace to its end."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def http_status(self, url: str) -> int:
        """The status of a GET without a token; 0 when nothing answers."""
        done = self.run(
            ["curl", "--silent", "--max-time", "10", "--output", os.devnull, "--write-out", "%{http_code}", url]
        )
        return int(done.stdout or 0)

    def listening(self) -> set[str]:
        """The addresses at which something in the namespace listens for TCP."""
        rows = self.run(["ss", "--no-header", "--listening", "--tcp", "--numeric"]).stdout.splitlines()
        return {row.split()[3].rpartition(":")[0] for row in rows}

    def pids(self) -> list[int]:
        """The processes of the namespace."""
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]

    def close(self) -> None:
        """End the processes and remove the namespace."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_until(lambda: not self.pids(), 30)
        _ip("netns", "delete", self.name)


@contextmanager
def one_machine() -> Iterator[Machine]:
    """A machine with a loopback address and no network."""
    machine = Machine(f"dbp-{os.getpid()}", "127.0.0.1")
    try:
        yield machine
    finally:
        machine.close()


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Two machines and a cable."""
    pid = os.getpid()
    network = f"10.{200 + pid % 50}.{pid // 50 % 250}"
    machines: list[Machine] = []
    try:
        for number in (1, 2):
            machines.append(Machine(f"dbp-{pid}-{number}", f"{network}.{number}"))
        first, second = machines
        cable = (f"dbp{pid % 100000}a", f"dbp{pid % 100000}b")
        _ip("-n", first.name, "link", "add", cable[0], "type", "veth", "peer", "name", cable[1], "netns", second.name)
        for machine, end, other in ((first, cable[0], second), (second, cable[1], first)):
            _ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", end)
            _ip("-n", machine.name, "link", "set", end, "up")
            # The route by which Ray finds out its own address.
            _ip("-n", machine.name, "route", "add", "default", "via", other.address)
        yield first, second
    finally:
        for machine in machines:
            machine.close()


def wait_until(happened: Callable[[], bool], seconds: float, what: str = "it") -> None:
    """Wait for something; AssertionError when it does not come."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.2)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout
