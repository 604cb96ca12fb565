"""One contract for every kind of folder, and what is said when a store fails."""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import ChaosFileSystem, Fault
from s3_server import S3

from dbp.errors import StorageError
from dbp.storage.folder import Folder, MissingFileError
from dbp.storage.remote import BRIEF, open_folder


@pytest.fixture(params=["local", "file", "memory", "s3", "gs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param in ("s3", "gs"):
        store = request.getfixturevalue("s3" if request.param == "s3" else "gcs")
        return open_folder(f"{store.url}/runs/a")
    place = {
        "local": str(tmp_path / "a"),
        "file": f"file://{tmp_path}/a",
        "memory": f"memory://{uuid.uuid4().hex}/a",
    }
    return open_folder(place[request.param])


def test_files_are_written_read_and_listed(folder: Folder, tmp_path: Path) -> None:
    assert folder.names() == []
    assert not folder.exists("x")
    folder.write("x", b"one")
    folder.write("x", b"two and more")
    folder.child("deep").child("er").write("y", b"")
    assert folder.names() == ["deep", "x"]
    assert folder.child("deep").names() == ["er"]
    assert (folder.read("x"), folder.size("x"), folder.exists("x")) == (b"two and more", 12, True)
    assert folder.read("deep/er/y") == b""
    assert not folder.exists("deep")
    with pytest.raises(StorageError, match=r"larger than 5 bytes"):
        folder.read("x", 5)
    assert folder.read("x", 12) == b"two and more"


def test_files_travel_both_ways(folder: Folder, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "here").write_bytes(data)
    folder.upload(tmp_path / "here", "in/there")
    folder.download("in/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    with pytest.raises(StorageError, match="no such file"):
        folder.upload(tmp_path / "nowhere", "x")


def test_a_missing_file_is_a_plain_error(folder: Folder, tmp_path: Path) -> None:
    for ask in (folder.read, folder.size, lambda name: folder.download(name, tmp_path / "x")):
        with pytest.raises(MissingFileError, match="nothing: no such file"):
            ask("nothing")
    folder.remove("nothing")
    assert not (tmp_path / "x").exists()


def test_creation_is_exclusive(folder: Folder) -> None:
    assert folder.create("lease", b"mine")
    assert not folder.create("lease", b"yours")
    assert folder.read("lease") == b"mine"
    assert folder.create("lease", b"mine")  # told again: a request whose reply was lost
    assert folder.names() == ["lease"]


def test_files_and_folders_are_removed(folder: Folder) -> None:
    for name in ("a", "b/c", "b/d"):
        folder.write(name, b"x")
    folder.remove("b/c")
    assert folder.child("b").names() == ["d"]
    folder.clear()
    assert folder.names() == []
    folder.clear()


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a//b", "a\0"])
def test_a_name_leads_nowhere_else(folder: Folder, name: str) -> None:
    for ask in (folder.read, folder.exists, folder.remove, folder.child):
        with pytest.raises(ValueError, match="no name in a folder"):
            ask(name)


# ---- failures


def test_a_busy_store_is_asked_again(chaos: type[ChaosFileSystem], tmp_path: Path) -> None:
    folder = open_folder("chaos://b/runs")
    chaos.faults += [Fault("put", "503", (1, 2)), Fault("get", "503", (1,)), Fault("list", "503", (1, 2, 3))]
    folder.write("x", b"data")
    assert (folder.read("x"), folder.names()) == (b"data", ["x"])
    assert chaos.calls["put"] == 3


def test_a_store_that_stays_busy_is_an_error(chaos: type[ChaosFileSystem]) -> None:
    chaos.faults.append(Fault("put", "503", None))
    with pytest.raises(StorageError) as caught:
        open_folder("chaos://b/runs").write("x", b"data")
    assert str(caught.value) == (
        "chaos://b/runs/x: cannot be written: the server is busy (Please reduce your request rate.) (tried 4 times)"
    )
    assert chaos.calls["put"] == 4


@pytest.mark.parametrize(("kind", "words"), [("403", "access denied (Access Denied)"), ("full", "the store is full")])
def test_what_cannot_get_better_is_asked_once(chaos: type[ChaosFileSystem], kind: str, words: str) -> None:
    chaos.faults.append(Fault("put", kind, None))  # type: ignore[arg-type]
    with pytest.raises(StorageError) as caught:
        open_folder("chaos://b/runs").write("x", b"data")
    assert words in str(caught.value)
    assert chaos.calls["put"] == 1


def test_a_reply_cut_short_is_noticed(chaos: type[ChaosFileSystem], tmp_path: Path) -> None:
    folder = open_folder("chaos://b/runs")
    folder.write("x", b"0123456789")
    chaos.faults.append(Fault("get", "truncated", (1, 3)))
    assert folder.read("x") == b"0123456789"
    folder.download("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"0123456789"
    chaos.faults[:] = [Fault("get", "truncated", None)]
    with pytest.raises(StorageError, match="5 bytes of 10 arrived"):
        folder.download("x", tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_a_reply_that_is_lost_after_the_store_did_it(chaos: type[ChaosFileSystem], tmp_path: Path) -> None:
    """The put is made again; an exclusive creation finds that the file is its own."""
    folder = open_folder("chaos://b/runs")
    (tmp_path / "x").write_bytes(b"data")
    chaos.faults.append(Fault("put", "reply lost", (1, 3)))
    folder.upload(tmp_path / "x", "x")
    assert folder.create("lease", b"mine")
    assert not folder.create("lease", b"yours")
    assert chaos.calls["put"] == 5


def test_there_is_no_such_bucket(s3: S3, tmp_path: Path) -> None:
    folder = open_folder("s3://no-such-bucket-here/runs")
    (tmp_path / "x").write_bytes(b"")
    for ask in (
        lambda: folder.write("x", b""),
        lambda: folder.upload(tmp_path / "x", "x"),
        lambda: folder.create("x", b"1"),
        folder.names,
        lambda: folder.read("x"),
    ):
        with pytest.raises(StorageError, match="there is no bucket 'no-such-bucket-here'") as caught:
            ask()
        assert not isinstance(caught.value, MissingFileError)


def test_wrong_credentials(s3: S3) -> None:
    s3.require_credentials(True)
    try:
        folder = open_folder(f"{s3.url}/runs")
        for ask in (lambda: folder.write("x", b""), folder.names, lambda: folder.exists("x")):
            with pytest.raises(StorageError, match=rf"{s3.url}/runs\S* cannot be \w+: access denied") as caught:
                ask()
            assert "canary-secret" not in str(caught.value)
    finally:
        s3.require_credentials(False)


def test_no_credentials(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(StorageError, match=r"no credentials; expected them in the environment \(AWS_ACCESS_KEY_ID"):
        open_folder(f"{s3.url}/runs").names()
    fsspec.filesystem("s3").clear_instance_cache()


def test_an_unreachable_server(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: a port where nobody answers
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(StorageError, match="the server does not answer") as caught:
            open_folder("s3://bucket/runs", BRIEF).names()
    assert "AWS_ENDPOINT_URL is http://" in str(caught.value)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine mounts no tmpfs: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_keeps_what_was_there(small_disk: Path) -> None:
    folder = open_folder(small_disk)
    folder.write("x", b"good")
    with pytest.raises(StorageError, match="the disk is full"):
        folder.write("x", bytes(200_000))
    assert folder.read("x") == b"good"
    assert folder.names() == ["x"]
