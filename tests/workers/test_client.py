"""`dbp.Client` against a real local service: a job's whole life, directly and through the cluster."""

from __future__ import annotations

import time

import pytest
from service_session import RunningService, local_service
from small_jobs import small_job
from submitted_jobs import undisturbed

import dbp
from dbp.errors import CheckpointError, InputError, JobDirectoryError, JobFileError
from dbp.workers.client import Client, UnknownJobError
from dbp.workers.cluster_reading import ClusterReading
from dbp.workers.frames import ReaderError
from dbp.workers.storages import FarReading

__all__ = ["local_service"]

ENDLESS = "training.max_steps=1000000"


@pytest.fixture
def client(local_service: RunningService, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client that finds the service as a user's commands do."""
    for name, value in local_service.environment.items():
        monkeypatch.setenv(name, value)
    return dbp.Client()


@pytest.fixture
def far(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The same, of a machine that cannot reach the storage: everything is read through the cluster."""
    monkeypatch.setattr(client, "_reading", lambda storage, jobs: FarReading(storage, ClusterReading(client._jobs)))
    return client


def wait_until(client: Client, job: str, condition, seconds: float = 120):
    deadline = time.monotonic() + seconds
    while True:
        view = client.status(job)
        if condition(view):
            return view
        assert time.monotonic() < deadline, (view, list(client.logs(job)))
        time.sleep(0.2)


def test_a_job_is_submitted_and_its_model_fetched(client: Client, tmp_path):
    job = small_job(tmp_path, "training.max_steps=30", "workers=2", storage="unused")
    name = client.submit(job, storage=client.service.storage)
    assert name.startswith("small-")
    assert any(view.job == name for view in client.list())
    assert client.wait(name, timeout=120).state == "SUCCEEDED"
    written = client.fetch(name, tmp_path / "result")
    assert {path.name for path in written} >= {"model.safetensors", "metrics.jsonl", "job.yaml", "log.txt"}
    model = dbp.load_model(tmp_path / "result/model.safetensors")
    assert model.parameters_sha256 == undisturbed(tmp_path, "training.max_steps=30")
    assert any("SUCCEEDED" in line for line in client.logs(name))
    client.delete(name)
    with pytest.raises(UnknownJobError, match="no job of that id"):
        client.status(name)


@pytest.mark.long
def test_cancelled_resumed_and_read_through_the_cluster(far: Client, tmp_path):
    """The same bits as if nothing had happened; every question is asked through the cluster."""
    client = far
    name = client.submit(small_job(tmp_path, ENDLESS, "workers=1"), job_id="far-1", storage=client.service.storage)
    with pytest.raises(JobDirectoryError, match="dbp resume far-1"):
        client.submit(small_job(tmp_path), job_id="far-1", storage=client.service.storage)
    wait_until(client, name, lambda view: (view.step or 0) > 0)
    for ask in (client.resume, client.delete):
        with pytest.raises(JobDirectoryError, match="expected a job that has ended"):
            ask(name)
    seen = client.glimpses(name)
    view, glimpse = next(seen)
    seen.close()
    assert (view.state, view.job) == ("RUNNING", name)
    assert glimpse is not None
    steps = [each["step"] for each in glimpse["metrics"]]
    assert steps == list(range(steps[0], steps[0] + len(steps)))  # from 1 on, or the last mebibyte of a fast job
    client.cancel(name)
    stopped = client.wait(name, timeout=120)
    assert stopped.state == "STOPPED"
    assert client.cancel(name).state == "STOPPED"  # again: nothing happens
    entries = client.checkpoints(name)
    assert entries[-1]["step"] == stopped.step
    assert all(entry["valid"] for entry in entries)
    with pytest.raises(CheckpointError, match=f"there are those of steps .*{stopped.step}"):
        client.fetch(name, tmp_path / "none", step=stopped.step + 1)
    written = client.fetch(name, tmp_path / "last", step="last")
    assert written[-1].name == f"step-{stopped.step:08d}.safetensors"
    assert written[-1].read_bytes() == (client_file(client, name, written[-1].name)).read_bytes()
    steps = stopped.step + 20
    client.resume(name, [f"training.max_steps={steps}"])
    assert client.wait(name, timeout=120).state == "SUCCEEDED"
    client.fetch(name, tmp_path / "model")
    model = dbp.load_model(tmp_path / "model/model.safetensors")
    assert model.parameters_sha256 == undisturbed(tmp_path, f"training.max_steps={steps}")
    client.delete(name)


def client_file(client: Client, name: str, file: str):
    from pathlib import Path

    return Path(client.service.storage) / name / "checkpoints" / file


def test_a_question_that_the_cluster_cannot_answer_is_told_in_its_words(client: Client, tmp_path):
    reading = FarReading(str(tmp_path / "nowhere"), ClusterReading(client._jobs))
    assert reading.describe_jobs(["a-1"]) == []
    with pytest.raises(ReaderError, match="no such job directory"):
        reading.checkpoints("a-1")


@pytest.mark.long
def test_a_table_on_the_clusters_side_alone_is_refused_by_the_driver(client: Client, tmp_path):
    """As a client elsewhere would hand it over: the path stays, and the driver says who cannot see it."""
    warned: list[str] = []
    elsewhere = Client(client.address, client.service.token_file, on_warning=warned.append)
    name = elsewhere.submit(
        small_job(tmp_path, f"data.train={tmp_path / 'gone.csv'}"), job_id="gone-1", storage=client.service.storage
    )
    assert any("gone.csv is not on this machine" in text for text in warned)
    view = elsewhere.wait(name, timeout=120)
    assert view.state == "FAILED"
    assert "gone.csv" in view.message
    elsewhere.delete(name)


def test_what_cannot_work_is_refused_before_anything_is_started(client: Client, tmp_path):
    before = {view.job for view in client.list()}
    storage = client.service.storage
    with pytest.raises(JobFileError, match="room for 2"):
        client.submit(small_job(tmp_path, "workers=3"), storage=storage)
    with pytest.raises(
        JobFileError, match=r"3 threads of one process need 3 CPU on one node, and .*: room for 0. Take fewer"
    ):
        client.submit(small_job(tmp_path, "workers={threads: 3}"), storage=storage)
    with pytest.raises(JobFileError, match=r"gone\.csv: no such file"):
        client.submit(small_job(tmp_path, f"data.train={tmp_path / 'gone.csv'}"), storage=storage)
    with pytest.raises(InputError, match="no column"):
        client.submit(small_job(tmp_path, "data.target=nonsense"), storage=storage)
    for odd in ("../x", "a b", "", "a;id", "$(id)", "x" * 101, "-x"):
        with pytest.raises(JobDirectoryError, match="cannot be a job id"):
            client.submit(small_job(tmp_path), job_id=odd, storage=storage)
        with pytest.raises(JobDirectoryError, match="cannot be a job id"):
            client.status(odd)
    assert {view.job for view in client.list()} == before


def test_a_job_for_more_workers_than_there_are_waits_when_it_is_told_to(client: Client, tmp_path):
    name = client.submit(
        small_job(tmp_path, "workers=3"), job_id="queued-1", storage=client.service.storage, queue=True
    )
    view = wait_until(client, name, lambda view: "waits for" in view.message)
    assert view.state == "PENDING"
    client.cancel(name)
    assert client.wait(name, timeout=60).state == "STOPPED"
    client.delete(name)


def test_the_submission_holds_no_more_than_it_must(client: Client, tmp_path):
    """The token is nowhere in what Ray shows of a job; the entry point is constant."""
    job = small_job(tmp_path, "training.max_steps=3", "workers={threads: 2}")
    name = client.submit(job, storage=client.service.storage)
    token = client.service.token_file.read_text().strip()
    shown = client._jobs._ask("GET", "/api/jobs/").body.decode()
    assert "exec python -m dbp.workers.entrypoint" in shown
    assert token not in shown
    (job,) = [job for job in client._jobs.jobs() if job.id == name]
    assert set(job.metadata) >= {"dbp_job", "dbp_attempt", "dbp_name", "dbp_version", "dbp_workers", "dbp_storage"}
    assert token not in "\n".join(client.logs(name, follow=True))
    client.delete(name)
