"""The systemd unit: systemd understands it, and what it starts runs, answers with the token only, and ends when told to."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from network_namespaces import POSSIBLE, REASON, Machine, one_machine, wait_until

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "dbp.service"


def settings() -> list[tuple[str, str]]:
    lines = [line.strip() for line in UNIT.read_text().splitlines()]
    return [tuple(line.split("=", 1)) for line in lines if line and line[0] not in "#["]


def setting(name: str) -> list[str]:
    return [value for key, value in settings() if key == name]


def test_systemd_understands_every_line(tmp_path):
    """`systemd-analyze verify`, with the interpreter of this test in place of /opt/dbp/bin/ray, which need not be here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here (Debian: apt-get install systemd)")
    copy = tmp_path / "dbp.service"
    copy.write_text(UNIT.read_text().replace("/opt/dbp/bin/ray", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if "dbp.service" in line]
    assert (done.returncode, complaints) == (0, [])


def test_it_gives_away_no_more_than_it_must():
    for name, value in {
        "User": "dbp",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "IPAddressDeny": "any",
        "IPAddressAllow": "localhost",
        "LoadCredential": "token:/etc/dbp/token",
    }.items():
        assert setting(name) == [value]


def start(machine: Machine, folder: Path) -> subprocess.Popen[bytes]:
    """Do what systemd does with the unit, with folders of this test for those of the system."""
    token = folder / "credentials" / "token"
    token.parent.mkdir()
    token.write_text("a" * 64)
    (command,) = setting("ExecStart")
    environment = {}
    for line in setting("Environment"):
        environment |= dict(each.split("=", 1) for each in line.split())
    places = {"/opt/dbp/bin": str(Path(sys.executable).parent), "/var/lib/dbp": str(folder), "%d": str(token.parent)}
    for place, here in places.items():
        command = command.replace(place, here)
        environment = {name: value.replace(place, here) for name, value in environment.items()}
    return machine.start(command.split(), environment, folder / "log")


@pytest.mark.skipif(not POSSIBLE, reason=REASON)
def test_what_it_starts_serves_the_loopback_address_and_ends_on_sigterm(short_folder):
    with one_machine() as machine:
        process = start(machine, short_folder)
        wait_until(
            lambda: machine.http_status("http://127.0.0.1:8265/api/gcs_healthz") == 200, 120, "Ray's health check"
        )
        wait_until(lambda: machine.http_status("http://127.0.0.1:8080/metrics") == 200, 120, "the metrics")
        assert machine.http_status("http://127.0.0.1:8265/api/jobs/") == 401
        assert machine.listening() <= {"127.0.0.1", "[::ffff:127.0.0.1]"}
        os.kill(process.pid, signal.SIGTERM)  # `ip netns exec` has become Ray's first process
        process.wait(int(setting("TimeoutStopSec")[0]))
        wait_until(lambda: not machine.pids(), 30, "the end of Ray's processes")
