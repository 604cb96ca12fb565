"""compose.yaml: closed as the README says, and the commands of its services run, as two machines of their own."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import yaml
from network_namespaces import POSSIBLE, REASON, two_machines, wait_until
from small_jobs import small_job

import dbp

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
HEAD, WORKER = (COMPOSE["services"][name] for name in ("head", "worker"))


def test_there_are_a_head_and_two_workers_of_one_image():
    assert COMPOSE["services"].keys() == {"head", "worker"}
    assert WORKER["deploy"]["replicas"] == 2
    assert HEAD["image"] == WORKER["image"]
    assert not HEAD["image"].endswith(":latest")
    assert (FILE.parent / HEAD["build"]["context"] / HEAD["build"]["dockerfile"]).is_file()
    assert WORKER["depends_on"] == {"head": {"condition": "service_healthy"}}


def test_the_only_open_port_is_on_the_loopback_address():
    assert HEAD["ports"] == ["127.0.0.1:8265:8265"]
    assert "ports" not in WORKER
    assert "network_mode" not in HEAD | WORKER


@pytest.mark.parametrize("service", [HEAD, WORKER], ids=["head", "worker"])
def test_every_node_has_the_token_as_a_secret_the_storage_and_no_privileges(service):
    environment = service["environment"]
    assert environment["RAY_AUTH_MODE"] == "token"
    (secret,) = service["secrets"]
    assert environment["RAY_AUTH_TOKEN_PATH"] == f"/run/secrets/{secret}"
    assert COMPOSE["secrets"][secret] == {"file": "./token"}
    assert service["volumes"] == ["storage:/storage"]
    assert COMPOSE["volumes"].keys() == {"storage"}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")


@pytest.mark.long
@pytest.mark.skipif(not POSSIBLE, reason=REASON)
def test_its_commands_make_a_cluster_that_trains(short_folder, tmp_path):
    """The very command lines, environment and health check; a job on both CPUs of the worker has the bits of one process."""
    token = short_folder / "token"
    token.write_text("b" * 64)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": HEAD["environment"]["RAY_AUTH_MODE"],
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": str(short_folder),
    }
    job = small_job(tmp_path, "training.max_steps=20")
    expected = dbp.train(job, workers=0).summary.parameters_sha256
    (tmp_path / "job.yaml").write_text(job.to_yaml())
    with two_machines() as (first, second):
        head = first.start(HEAD["command"], environment, short_folder / "head.log")
        check = HEAD["healthcheck"]["test"]
        assert check[0] == "CMD"
        wait_until(lambda: first.run(check[1:], environment).returncode == 0, 120, "the head's health check")
        command = [word.replace("=head:", f"={first.address}:") for word in WORKER["command"]]
        worker = second.start(command, environment, short_folder / "worker.log")
        wait_until(
            lambda: second.http_status("http://127.0.0.1:52365/api/local_raylet_healthz") == 200, 120, "the worker"
        )
        assert second.http_status(f"http://{first.address}:8265/api/jobs/") == 401  # no token
        train = [
            "dbp",
            "run",
            str(tmp_path / "job.yaml"),
            "--workers",
            "2",
            "--address",
            f"{first.address}:6379",
            "--json",
        ]
        done = first.run(train, environment)
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads(done.stdout)["parameters_sha256"] == expected
        for process in (worker, head):
            os.kill(process.pid, signal.SIGTERM)
            process.wait(45)
        wait_until(lambda: not first.pids() + second.pids(), 30, "the end of all processes")
