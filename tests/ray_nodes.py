"""Ray nodes as processes of their own, stopped by pid: a head, more nodes, each perhaps in a network namespace of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

RAY = Path(sys.executable).with_name("ray")
# Ray's defaults notice a dead node after 15 s.
TUNED = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 4,
}


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def environment(**changes: str) -> dict[str, str]:
    """A plain shell's, without what this test session's own Ray put there."""
    dropped = ("RAY_", "DBP_", "PYTEST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    helpers = str(Path(__file__).parent)
    return {
        **kept,
        "PYTHONPATH": helpers,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "PYTHONUNBUFFERED": "1",
        **changes,
    }


def parent_of(pid: int) -> int:
    """0 for a process that is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    parents = {int(name): parent_of(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def kill_family(pid: int) -> None:
    for each in family(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


@dataclass
class Node:
    """One node, in the foreground of a process: whatever it starts descends from that."""

    process: subprocess.Popen[bytes]
    ip: str
    prefix: Sequence[str] = ()  # of commands that are to run where it does

    def kill(self) -> None:
        """As if its power was cut."""
        kill_family(self.process.pid)
        self.process.wait()


@dataclass
class Cluster:
    """A head and its nodes. `address` is the head's."""

    folder: Path
    ip: str = field(default_factory=ray.util.get_node_ip_address)  # Ray does not take 127.0.0.1 for a node's address
    port: int = 0
    nodes: list[Node] = field(default_factory=list)
    drivers: list[subprocess.Popen[str]] = field(default_factory=list)
    dashboard: int | None = None
    env: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"

    def start_head(
        self, cpus: int = 2, prefix: Sequence[str] = (), dashboard: bool = False, port: int = 0, **options: str
    ) -> Node:
        ports = free_ports(3)
        self.port = port or ports[0]
        arguments = ["--head", f"--port={self.port}", f"--ray-client-server-port={ports[1]}"]
        arguments += [f"--system-config={json.dumps(TUNED)}", f"--include-dashboard={str(dashboard).lower()}"]
        if dashboard:
            self.dashboard = ports[2]
            arguments += [f"--dashboard-port={ports[2]}", f"--dashboard-host={self.ip}"]
        return self._start(arguments, self.ip, cpus, prefix, **options)

    def add_node(self, cpus: int = 2, ip: str | None = None, prefix: Sequence[str] = (), **options: str) -> Node:
        return self._start([f"--address={self.address}"], ip or self.ip, cpus, prefix, **options)

    def _start(self, arguments: list[str], ip: str, cpus: int, prefix: Sequence[str], **options: str) -> Node:
        ports = free_ports(4)
        names = (
            "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port",
            "runtime-env-agent-port",
            "metrics-export-port",
        )
        own = [f"--{name}={port}" for name, port in zip(names, ports, strict=True)]
        own += [f"--node-ip-address={ip}", f"--num-cpus={cpus}", "--min-worker-port=0", "--max-worker-port=0"]
        own += [
            "--object-store-memory=83886080",
            f"--temp-dir={self.folder}/{len(self.nodes)}",
            "--disable-usage-stats",
            "--block",
        ]
        own += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        log = open(self.folder / f"node-{len(self.nodes)}.log", "wb")  # noqa: SIM115 (the process writes into it)
        with log:
            process = subprocess.Popen(
                [*prefix, str(RAY), "start", *arguments, *own],
                env=environment(**self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        node = Node(process, ip, tuple(prefix))
        self.nodes.append(node)
        return node

    def ask(self, code: str, node: Node | None = None) -> Any:
        """Run Python on the cluster in a process of its own; it prints JSON."""
        prefix = (node or self.nodes[0]).prefix
        text = (
            f"import ray, json\nray.init(address={self.address!r}, log_to_driver=False, logging_level='ERROR')\n{code}"
        )
        done = subprocess.run(
            [*prefix, sys.executable, "-c", text],
            env=environment(**self.env),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    def wait_for_nodes(self, count: int) -> None:
        code = (
            "import time\n"
            f"while (alive := sum(n['Alive'] for n in ray.nodes())) != {count}: time.sleep(0.2)\nprint(alive)"
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask(code)
                return
            except AssertionError as error:
                if time.monotonic() > deadline:
                    logs = [path.read_text(errors="replace")[-1500:] for path in self.folder.glob("node-*.log")]
                    raise AssertionError("\n".join([str(error), *logs])) from None
                time.sleep(0.5)

    def drive(self, folder: Path) -> subprocess.Popen[str]:
        """Start a driver as Ray would, in the folder that travelled; its log is driver.log there."""
        with open(folder / "driver.log", "a") as log:
            process = subprocess.Popen(
                [*self.nodes[0].prefix, sys.executable, "-m", "dbp.workers.entrypoint"],
                cwd=folder,
                env=environment(RAY_ADDRESS=self.address, OMP_NUM_THREADS="1", **self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.drivers.append(process)
        return process

    def close(self) -> None:
        for process in [*self.drivers, *(node.process for node in reversed(self.nodes))]:
            kill_family(process.pid)
            process.wait()


@contextlib.contextmanager
def cluster(**env: str) -> Iterator[Cluster]:
    """A cluster without nodes yet; what is started in it ends with the block. Its folder's name is short for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="dbpr", ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder), env=env)
        try:
            yield made
        finally:
            made.close()
