"""`ray start --head` as the local service runs it: alone on its machine, loopback only, asking for the token.

The process stays (`--block`) as the *keeper*, the parent of all of Ray's processes: TERM ends them in good order, and when one
of them dies, it ends the others.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dbp.errors import ServiceError
from dbp.jobs.processes import Process, process
from dbp.storage.atomic_files import storage_error
from dbp.workers.authentication import set_token_environment
from dbp.workers.service_processes import MARK

LOOPBACK = "127.0.0.1"
USUAL_PORT = 8265
_TRIES = 20
RAY_FOLDER = "r"  # short: the sockets below it have paths of at most 107 characters

# What would make Ray join another cluster, or tell our service's processes about one.
_FOREIGN = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_NAMESPACE", "RAY_TMPDIR", "RAY_AUTH_TOKEN", "DBP_ADDRESS")


def launch(temporary: Path, port: int, cpus: int, mark: str, token: Path, log: Path) -> Process:
    """Start Ray in a session of its own, so that it outlives the terminal, and return the keeper. It takes seconds to be up."""
    with suppress(FileNotFoundError):
        log.unlink()
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise storage_error("be written", log, error) from error
    # systemd-tmpfiles leaves a locked folder alone, however old it is; the lock lives as long as the keeper.
    folder = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH)
        keeper = subprocess.Popen(
            _command(temporary, port, cpus),
            cwd=temporary,
            env=_environment(mark, token),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[folder],
            start_new_session=True,
        )
    finally:
        os.close(folder)
        os.close(output)
    started = process(keeper.pid)
    if started is None:  # it is our child and not waited for: /proc must have it
        keeper.kill()
        raise ServiceError("this machine's /proc shows no processes; `dbp up` needs it to know later what it started")
    return started


def gcs_address(temporary: Path) -> str | None:
    """Return where Ray's own programs connect, once Ray is up; None before."""
    try:
        return (temporary / RAY_FOLDER / "ray_current_cluster").read_text().strip() or None
    except OSError:
        return None


def log_folder(temporary: Path) -> Path:
    """Return where Ray's processes write their logs."""
    return temporary / RAY_FOLDER / "session_latest" / "logs"


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yield Ray's usual port where it is free on the loopback address, else any that is.

    Until the block ends, when Ray listens there, no other `dbp up` is given it, whoever's it is: each holds a Unix socket of that
    number (Linux's abstract names, which end with their process).
    """
    for port in (USUAL_PORT, *[0] * _TRIES):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just left is free
            probe.bind((LOOPBACK, port))
            free = int(probe.getsockname()[1])
            claim = socket.socket(socket.AF_UNIX)
            try:
                claim.bind(f"\0dbp-up-{free}")
            except OSError:
                claim.close()
                continue
            break
    else:
        raise ServiceError("no TCP port is free on this machine's loopback address")
    with claim:
        yield free


def usable_cpus() -> int:
    """Return how many CPUs this process may use: its affinity, and the quota of its control group."""
    allowed = len(os.sched_getaffinity(0))
    for quota, period in (_cgroup_2(), _cgroup_1()):
        if quota > 0 and period > 0:
            allowed = min(allowed, max(1, quota // period))
    return allowed


def _command(temporary: Path, port: int, cpus: int) -> list[str]:
    return [
        sys.executable,
        "-P",  # the current folder stays out of the path of imports
        *("-m", "ray.scripts.scripts", "start", "--head", "--block"),
        f"--node-ip-address={LOOPBACK}",
        "--port=0",
        f"--dashboard-host={LOOPBACK}",
        f"--dashboard-port={port}",
        "--dashboard-agent-listen-port=0",  # the usual one may be another Ray's; without it no job can be submitted
        f"--temp-dir={temporary / RAY_FOLDER}",
        f"--num-cpus={cpus}",
        "--num-gpus=0",
        "--no-monitor",  # of an autoscaler: this cluster has one node, for ever
        "--include-log-monitor=false",
        "--disable-usage-stats",
        "--log-style=record",
        "--log-color=false",
    ]


def _environment(mark: str, token: Path) -> dict[str, str]:
    """Return the environment of Ray's processes and of the drivers of jobs."""
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    set_token_environment(environment, token)
    return environment | {
        # Jobs start `python`: this one, whether its environment is activated here or not.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Otherwise Ray takes the machine's own address for 127.0.0.1 and listens on all interfaces. This is its switch for a
        # machine that shall have no other nodes, made for systems whose firewall asks about each port.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_START_HOOK": "dbp.workers.ray_start_hook.leave_out_client_server",
        # The ports for metrics ask for no token. The second has no switch; on a port that there is not, it does not start.
        "RAY_enable_metrics_collection": "0",
        "DASHBOARD_METRIC_PORT": "-1",
        MARK: mark,
    }


def _cgroup_2() -> tuple[int, int]:
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return int(quota), int(period)
    return 0, 0


def _cgroup_1() -> tuple[int, int]:
    folder = Path("/sys/fs/cgroup/cpu")
    with suppress(OSError, ValueError):
        return int((folder / "cpu.cfs_quota_us").read_text()), int((folder / "cpu.cfs_period_us").read_text())
    return 0, 0
