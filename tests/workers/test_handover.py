"""What is decided on the client's side when a job is handed over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from small_jobs import small_job

from dbp.errors import InputError
from dbp.jobs.service_config import Service
from dbp.workers.handover import Handover
from dbp.workers.places import most_places
from dbp.workers.ray_jobs import RayJobs


def handover(storage: str | None = None, *, local: bool = False, loopback: bool = False) -> Handover:
    jobs = cast(RayJobs, SimpleNamespace(is_loopback=loopback))
    return Handover(jobs, Service("http://head:8265", storage, None, "--address"), local, print)


def test_where_a_job_is_kept_is_as_asked_else_as_the_job_says_else_the_services(tmp_path):
    plain = small_job(tmp_path, "storage=runs")
    says = small_job(tmp_path, "storage=/mnt/said")
    assert handover("/mnt/service")._storage(says, "/mnt/asked") == "/mnt/asked"
    assert handover("/mnt/service")._storage(says, None) == "/mnt/said"
    assert handover("/mnt/service")._storage(plain, None) == "/mnt/service"
    assert handover()._storage(plain, "s3://bucket/runs") == "s3://bucket/runs"


def test_a_folder_of_this_machine_is_no_storage_of_a_cluster_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = small_job(tmp_path, "storage=runs")
    with pytest.raises(InputError, match=r'"runs" is a folder of this machine; expected .* s3://'):
        handover()._storage(plain, None)
    assert handover(local=True)._storage(plain, None) == str(tmp_path / "runs")
    assert handover(loopback=True)._storage(plain, None) == str(tmp_path / "runs")


@pytest.mark.parametrize(
    ("nodes", "need", "room"),
    [
        ([{"CPU": 2.0}, {"CPU": 3.0}], {"CPU": 1.0}, 5),
        ([{"CPU": 2.0}, {"CPU": 3.0, "big": 1.0}], {"CPU": 1.0, "big": 0.5}, 2),
        ([{"CPU": 2.0, "memory": 10.0}], {"CPU": 1.0, "memory": 6.0}, 1),
        ([{"memory": 10.0}], {"CPU": 1.0}, 0),
        ([{"CPU": 1.0, "big": 0.3}], {"CPU": 0.1, "big": 0.1}, 3),
    ],
)
def test_how_many_workers_find_room(nodes, need, room):
    assert most_places(need, nodes) == room
