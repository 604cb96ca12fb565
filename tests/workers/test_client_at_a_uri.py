"""`dbp.Client` and jobs kept at a URI: read directly where this machine has the credentials, through the cluster where not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import S3, SETTINGS
from service_session import RunningService, dbp_in, start_service
from small_jobs import small_job
from submitted_jobs import undisturbed

import dbp
from dbp.errors import CheckpointError, StorageError
from dbp.storage.remote import open_folder
from dbp.workers.client import Client, UnknownJobError

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def service(_s3_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A local service that was started where the store's address and keys are set."""
    folder = tmp_path_factory.mktemp("service")
    try:
        yield start_service(folder, "--cpus", 2, **SETTINGS, AWS_ENDPOINT_URL=_s3_server.endpoint)
    finally:
        done = dbp_in(folder, "down", "--wait", 0)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def client(service: RunningService, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client that finds the service, and reaches the store."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, service.environment[name])
    return dbp.Client()


@pytest.fixture
def outside(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client that has neither the store's address nor keys for it."""
    for name in [*SETTINGS, "AWS_ENDPOINT_URL"]:
        monkeypatch.delenv(name)
    return client


def wait_until(client: Client, job: str, condition, seconds: float = 180):
    deadline = time.monotonic() + seconds
    while True:
        view = client.status(job)
        if condition(view):
            return view
        assert time.monotonic() < deadline, (view, list(client.logs(job)))
        time.sleep(0.2)


def sha256_of(folder: Path) -> str:
    return dbp.load_model(folder / "model.safetensors").parameters_sha256


def test_a_job_is_looked_after_where_the_client_reaches_the_store(client: Client, s3: S3, tmp_path: Path) -> None:
    """Nothing but the job itself is started on the cluster."""
    storage = f"{s3.url}/runs"
    name = client.submit(small_job(tmp_path, "training.max_steps=30", "workers=2"), storage=storage)
    view = client.wait(name, timeout=180)
    assert (view.state, view.step) == ("SUCCEEDED", 30), list(client.logs(name))
    assert view.directory == f"{storage}/{name}"
    assert [each.state for each in client.list() if each.job == name] == ["SUCCEEDED"]
    written = {path.name for path in client.fetch(name, tmp_path / "result")}
    assert written == {"model.safetensors", "metrics.jsonl", "job.yaml", "log.txt", "status.json", "environment.json"}
    assert sha256_of(tmp_path / "result") == undisturbed(tmp_path, "training.max_steps=30")
    entries = client.checkpoints(name)
    assert [entry["step"] for entry in entries] == [21, 28, 30]
    assert all(entry["valid"] for entry in entries)
    assert client.fetch(name, tmp_path / "step", step=28)[-1].name == "step-00000028.safetensors"
    with pytest.raises(CheckpointError, match="there are those of steps 21, 28, 30"):
        client.fetch(name, tmp_path / "none", step=7)
    seen = list(client.glimpses(name))
    assert [step["step"] for _, glimpse in seen for step in (glimpse or {})["metrics"]] == list(range(1, 31))
    assert not [job.id for job in client._jobs.jobs() if job.id.startswith("dbp-reader-")]
    client.delete(name)
    assert open_folder(storage).names() == []
    with pytest.raises(UnknownJobError):
        client.status(name)


def test_a_job_is_looked_after_through_the_cluster_where_the_client_does_not(
    outside: Client, s3: S3, tmp_path: Path
) -> None:
    """Submitted, cancelled, resumed and fetched with no keys on this side: the same bits."""
    client, storage = outside, f"{s3.url}/runs"
    with pytest.raises(StorageError):
        open_folder(storage, ()).names()
    name = client.submit(small_job(tmp_path, "training.max_steps=1000000", "workers=1"), job_id="f-1", storage=storage)
    wait_until(client, name, lambda view: (view.step or 0) > 0)
    client.cancel(name)
    stopped = client.wait(name, timeout=180)
    assert stopped.state == "STOPPED"
    assert client.fetch(name, tmp_path / "last", step="last")[-1].name == f"step-{stopped.step:08d}.safetensors"
    steps = (stopped.step or 0) + 20
    client.resume(name, [f"training.max_steps={steps}"])
    assert client.wait(name, timeout=180).state == "SUCCEEDED"
    client.fetch(name, tmp_path / "model")
    assert sha256_of(tmp_path / "model") == undisturbed(tmp_path, f"training.max_steps={steps}")
    client.delete(name)
    with pytest.raises(UnknownJobError):
        client.status(name)


def test_storage_that_cannot_be_used_ends_a_job_before_it_begins(client: Client, tmp_path: Path) -> None:
    """Of a kind that is not known, at once; a bucket that is missing, by the driver."""
    with pytest.raises(StorageError, match="storage of kind 'ftp'"):
        client.submit(small_job(tmp_path), storage="ftp://host/runs")
    name = client.submit(small_job(tmp_path), job_id="b-1", storage="s3://no-such-bucket/runs")
    view = client.wait(name, timeout=180)
    assert view.state == "FAILED"
    assert "there is no bucket 'no-such-bucket'" in view.message
