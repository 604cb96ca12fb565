"""Credentials and tokens are in the environment and in their files, and nowhere else.

Of a service's token: tests/workers/test_local_service.py and test_client.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_input.conftest import ENVIRONMENT, Dbp
from s3_server import S3

DBP = Path(sys.executable).with_name("dbp")
SECRET = b"canary-storage-secret"
TOKEN = b"canary-ray-token"
CANARIES = (SECRET, TOKEN)


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Path]:
    """A folder for Ray's session: its sockets allow no long path."""
    folder = Path(tempfile.mkdtemp(prefix="s"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def command_lines(mark: str) -> list[bytes]:
    """Those of all processes that have the mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"DBP_TEST_MARK={mark}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes())
        except OSError:
            continue
    return found


def holders(folder: Path) -> list[Path]:
    """The files below a folder that have a canary; those that vanish while they are looked at have none."""
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and any(canary in path.read_bytes() for canary in CANARIES):
                found.append(path)
        except OSError:
            continue
    return found


def test_a_job_at_a_uri_leaves_its_credentials_nowhere(job: Path, tmp_path: Path, short: Path, s3: S3) -> None:
    """A real run with a worker process: its command lines and Ray's files while it runs, then all that it wrote and said."""
    environment = {
        **ENVIRONMENT,
        **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
        "AWS_SECRET_ACCESS_KEY": SECRET.decode(),
        "RAY_AUTH_TOKEN": TOKEN.decode(),
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(short),
        "DBP_TEST_MARK": tmp_path.name,
    }
    command = [DBP, "run", "job.yaml", "--id", "a-1", "--storage", f"{s3.url}/runs", "--workers", "1"]
    steps = [
        "--set",
        "training.max_steps=1000000",
        "--set",
        "checkpoint.every=1000",
        "--set",
        "training.validate_every=1000",
    ]
    with subprocess.Popen(
        [*command, *steps],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as run:
        while run.poll() is None and not any(
            "/checkpoints/" in request for request in s3.requests if request.startswith("PUT")
        ):
            time.sleep(0.1)
        lines, ray_files, while_running = command_lines(tmp_path.name), list(short.rglob("*.log")), holders(short)
        run.send_signal(2)
        out, err = run.communicate(timeout=120)
    assert run.returncode == 130, err
    assert len(lines) >= 4  # this command, Ray's own processes, the worker
    assert len(ray_files) >= 3
    assert not [line for line in lines if any(canary in line for canary in CANARIES)]
    assert while_running == []
    assert holders(tmp_path) == []
    stored = [entry["Key"] for entry in s3.client.list_objects_v2(Bucket=s3.bucket)["Contents"]]
    names = {"job.yaml", "status.json", "metrics.jsonl", "environment.json", "log.txt"}
    assert names <= {key.removeprefix("runs/a-1/") for key in stored}
    everything = [out, err, *(s3.client.get_object(Bucket=s3.bucket, Key=key)["Body"].read() for key in stored)]
    assert not [text for text in everything if any(canary in text for canary in CANARIES)]


@pytest.mark.parametrize(
    "uri",
    [
        "s3://user:canary@bucket/x",
        "s3://canary@bucket/x",
        "s3://user:canary/x",
        "s3://bucket/x?X-Amz-Signature=canary",
        "https://user:canary@host/x.csv",
        "https://host/x.csv?token=canary",
    ],
)
def test_a_secret_in_a_uri_is_refused_and_not_repeated(dbp: Dbp, job: Path, tmp_path: Path, uri: str) -> None:
    """In a job file, a setting, an option: nothing is made, and the message leaves it out."""
    job.write_text(job.read_text().replace("train: table.csv", f"train: '{uri}'"))
    for arguments in (
        ("run", "job.yaml"),
        ("validate", "job.yaml"),
        ("run", "job.yaml", "--storage", uri),
        ("list", "--storage", uri),
    ):
        ran = dbp(*arguments)
        assert ran.code == 2, ran.err
        assert "canary" not in ran.out + ran.err
        assert not (tmp_path / "runs").exists()


def test_a_bug_report_is_for_its_owner_alone(job: Path, tmp_path: Path) -> None:
    """The details of a bug go to a file that others cannot read, with no values of variables."""
    code = (
        "import sys, dbp.cli.errors as errors\n"
        "def fails():\n    secret = 'canary-' + 'in-a-variable'\n    raise ValueError('odd')\n"
        "with errors.exit_codes(): fails()\n"
    )
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path), "AWS_SECRET_ACCESS_KEY": SECRET.decode()}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    (log,) = tmp_path.glob("dbp-bug-*.log")
    assert (done.returncode, str(log) in done.stderr) == (1, True)
    assert log.stat().st_mode & 0o777 == 0o600
    assert "ValueError: odd" in log.read_text()
    assert "canary-in-a-variable" not in log.read_text()
    assert holders(tmp_path) == []
