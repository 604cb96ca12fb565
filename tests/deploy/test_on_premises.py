"""The file for `ray up`: valid by Ray's own schema, and its commands are ones that this Ray knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start as ray_start

FILE = Path(__file__).parents[2] / "deploy" / "on-premises" / "cluster.yaml"
CLUSTER = yaml.safe_load(FILE.read_text())
START = {"head": CLUSTER["head_start_ray_commands"][-1], "worker": CLUSTER["worker_start_ray_commands"][-1]}


def test_it_is_valid_by_rays_schema():
    validate_config(prepare_config(CLUSTER))


def test_every_machine_is_a_worker():
    assert CLUSTER["min_workers"] == CLUSTER["max_workers"] == len(CLUSTER["provider"]["worker_ips"])


@pytest.mark.parametrize("role", ["head", "worker"])
def test_ray_is_started_with_options_that_it_has_and_with_the_token(role):
    known = {option for parameter in ray_start.params for option in parameter.opts}
    assert set(re.findall(r"--[a-z-]+", START[role])) <= known
    assert "RAY_AUTH_MODE=token" in START[role]
    (token,) = re.findall(r"RAY_AUTH_TOKEN_PATH=(\S+)", START[role])
    assert CLUSTER["file_mounts"][token] == token


def test_the_dashboard_listens_on_the_heads_loopback_alone():
    assert "--dashboard-host=127.0.0.1" in START["head"]


def test_its_commands_are_shell():
    commands = [*CLUSTER["setup_commands"], *CLUSTER["head_start_ray_commands"], *CLUSTER["worker_start_ray_commands"]]
    for command in commands:
        assert subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0, command
