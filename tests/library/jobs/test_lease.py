"""Leases: of several runs that want a job directory one gets it, and one that lost it finds out before it writes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from s3_server import S3

from dbp.errors import JobDirectoryError, LeaseLostError
from dbp.jobs.lease import HEARTBEAT_LOST_S, Owner, claim, newest_epoch
from dbp.storage.folder import Folder
from dbp.storage.remote import open_folder

ELSEWHERE = Owner("another-host", 7)


@pytest.fixture(params=["local", "memory", "s3", "gcs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param in ("s3", "gcs"):
        return open_folder(f"{request.getfixturevalue(request.param).url}/runs/a")
    return open_folder(tmp_path / "a" if request.param == "local" else f"memory://{uuid.uuid4().hex}/a")


def later(seconds: float) -> dict:
    return {"now": lambda: datetime.now(UTC) + timedelta(seconds=seconds)}


def status(folder: Folder, state: str, heartbeat: datetime) -> None:
    folder.write("status.json", json.dumps({"state": state, "heartbeat": heartbeat.isoformat()}).encode())


def test_epochs_count_up_from_one(folder: Folder) -> None:
    for epoch in (1, 2, 3):
        lease = claim(folder, Owner())
        assert lease.epoch == epoch == newest_epoch(folder)
        lease.check()
        lease.release()


def test_a_lease_says_whose_it_is(folder: Folder) -> None:
    lease = claim(folder, Owner(node="node-3"))
    facts = json.loads(folder.read("lease-00000001.json"))
    assert (facts["epoch"], facts["host"], facts["pid"], facts["node"]) == (
        1,
        socket.gethostname(),
        os.getpid(),
        "node-3",
    )
    assert abs(datetime.fromisoformat(facts["claimed"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert "released" not in facts
    lease.release()
    assert "released" in json.loads(folder.read("lease-00000001.json"))


def test_a_living_holder_is_named(folder: Folder) -> None:
    claim(folder, ELSEWHERE)
    with pytest.raises(JobDirectoryError) as caught:
        claim(folder, Owner())
    assert "in use by pid 7 on host another-host since 20" in str(caught.value)
    assert "(epoch 1); one run at a time" in str(caught.value)


def test_force_takes_it_and_the_older_run_finds_out(folder: Folder) -> None:
    old = claim(folder, ELSEWHERE)
    new = claim(folder, Owner(), force=True)
    assert new.epoch == 2
    new.check()
    with pytest.raises(
        LeaseLostError, match=r"a newer run owns this directory \(epoch 2, pid \d+ on host \S+ since 20"
    ):
        old.check()


def test_a_holder_elsewhere_counts_as_gone_after_its_last_sign_of_life(folder: Folder) -> None:
    claim(folder, ELSEWHERE)
    with pytest.raises(JobDirectoryError):
        claim(folder, Owner(), **later(HEARTBEAT_LOST_S - 5))
    status(folder, "RUNNING", datetime.now(UTC) + timedelta(seconds=60))
    with pytest.raises(JobDirectoryError):
        claim(folder, Owner(), **later(60 + HEARTBEAT_LOST_S - 5))
    assert claim(folder, Owner(), **later(60 + HEARTBEAT_LOST_S + 5)).epoch == 2


def test_a_holder_whose_job_ended_after_the_claim_is_gone(folder: Folder) -> None:
    """Its release did not reach the folder, its status did. One that ended before the claim says nothing."""
    status(folder, "STOPPED", datetime.now(UTC) - timedelta(seconds=5))
    claim(folder, ELSEWHERE)
    with pytest.raises(JobDirectoryError):
        claim(folder, Owner())
    status(folder, "SUCCEEDED", datetime.now(UTC) + timedelta(seconds=5))
    assert claim(folder, Owner()).epoch == 2


def test_a_holder_on_this_host_is_gone_with_its_process(folder: Folder) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        claim(folder, Owner(pid=process.pid))
        with pytest.raises(JobDirectoryError):
            claim(folder, Owner(), **later(3600))  # it lives, however long it says nothing
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    assert claim(folder, Owner()).epoch == 2


def test_a_holder_in_this_process_that_could_not_release_it_is_gone(folder: Folder) -> None:
    held = claim(folder, Owner())
    with pytest.raises(JobDirectoryError):
        claim(folder, Owner())
    held.release()
    folder.write("lease-00000001.json", json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode())
    assert claim(folder, Owner()).epoch == 2


def test_who_has_the_lock_of_a_folder_is_alone_on_this_host(folder: Folder) -> None:
    claim(folder, Owner())
    assert claim(folder, Owner(), locked=True).epoch == 2
    claim(folder, ELSEWHERE, force=True)
    with pytest.raises(JobDirectoryError):
        claim(folder, Owner(), locked=True)


def test_a_new_directory_is_taken_once(folder: Folder) -> None:
    claim(folder, Owner(), first=True).release()
    with pytest.raises(JobDirectoryError):
        claim(folder, Owner(), first=True)


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"\xff", b'{"epoch": 1, "claimed": "soon", "pid": "x"}', bytes(200_000)]
)
def test_a_damaged_lease_file_is_nobodys_after_a_while(folder: Folder, damage: bytes) -> None:
    """There is no sign of life in it."""
    folder.write("lease-00000001.json", damage)
    assert claim(folder, Owner()).epoch == 2


RACER = """
import sys
from dbp.errors import JobDirectoryError
from dbp.jobs.lease import Owner, claim
from dbp.storage.remote import open_folder
open_folder(sys.argv[1] + "/0").names()  # connected
for line in sys.stdin:
    folder = open_folder(f"{sys.argv[1]}/{line.strip()}")
    try:
        print(claim(folder, Owner()).epoch, flush=True)
    except JobDirectoryError as error:
        print("refused" if "in use by pid" in str(error) else error, flush=True)
"""


@pytest.mark.parametrize(("kind", "rounds"), [("local", 200), ("s3", 60), ("gcs", 60)])
def test_of_two_processes_that_race_exactly_one_wins(kind: str, rounds: int, tmp_path: Path, request) -> None:
    place = str(tmp_path) if kind == "local" else f"{request.getfixturevalue(kind).url}/runs"
    command = [sys.executable, "-c", RACER, place]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(2)
    ]
    try:
        for number in range(1, rounds + 1):
            for racer in racers:
                racer.stdin.write(f"{number}\n")
            answers = sorted(racer.stdout.readline().strip() for racer in racers)
            assert answers == ["1", "refused"], number
    finally:
        for racer in racers:
            racer.stdin.close()
            racer.stdout.close()
            racer.wait()


def test_threads_that_race_in_memory(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def run(place: str) -> int | None:
        try:
            return claim(open_folder(place), ELSEWHERE).epoch
        except JobDirectoryError:
            return None

    name = uuid.uuid4().hex
    with ThreadPoolExecutor(8) as pool:
        for number in range(100):
            won = list(pool.map(run, [f"memory://{name}/{number}"] * 8))
            assert sorted(epoch for epoch in won if epoch) == [1]


def test_a_claim_whose_reply_is_lost_is_ours(chaos) -> None:
    from chaos import Fault

    chaos.faults.append(Fault("put", "reply lost", (1,)))
    assert claim(open_folder("chaos://b/a"), Owner()).epoch == 1


def test_the_server_decides(s3: S3) -> None:
    """The request says If-None-Match, and moto honours it."""
    from botocore.exceptions import ClientError

    s3.client.put_object(Bucket=s3.bucket, Key="x", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.client.put_object(Bucket=s3.bucket, Key="x", Body=b"2", IfNoneMatch="*")
