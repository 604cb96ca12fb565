"""What is particular to gs:// (gcsfs): what it says when something fails, how often it asks, and large files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from gcs_server import Google

from dbp.errors import StorageError
from dbp.storage.failures import understand
from dbp.storage.folder import MissingFileError
from dbp.storage.remote import BRIEF, open_folder


def refused(place: str) -> str:
    with pytest.raises(StorageError) as caught:
        open_folder(place, BRIEF).write("x", b"data")
    return str(caught.value)


def test_a_large_file_goes_up_and_comes_back_in_pieces(gcs: Google, tmp_path: Path) -> None:
    """Over 5 MB an upload can be gone on with, in pieces of 50 MB."""
    data = os.urandom(1 << 20) * 53
    (tmp_path / "large").write_bytes(data)
    folder = open_folder(f"{gcs.url}/runs")
    folder.upload(tmp_path / "large", "in/large")
    assert sum("/upload/" in line for line in gcs.requests) == 3
    folder.download("in/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert folder.size("in/large") == len(data)


def test_no_bucket_and_an_empty_one_are_told_apart(gcs: Google) -> None:
    assert open_folder(f"{gcs.url}/runs").names() == []
    with pytest.raises(StorageError, match="there is no bucket 'nowhere-at-all'"):
        open_folder("gs://nowhere-at-all/runs").names()
    assert refused("gs://nowhere-at-all/runs").endswith("cannot be written: there is no bucket 'nowhere-at-all'")


def test_who_may_not_ask_about_the_bucket_may_still_use_it(gcs: Google) -> None:
    """As with the role that may only read and write objects."""
    gcs.failing.append(lambda method, path: 403 if path.endswith(f"/b/{gcs.bucket}") else None)
    folder = open_folder(f"{gcs.url}/runs")
    assert folder.names() == []
    with pytest.raises(MissingFileError):
        folder.read("nothing")
    assert folder.create("lease", b"mine")
    assert folder.names() == ["lease"]


@pytest.mark.parametrize(
    ("status", "words", "asked"),
    [
        (403, "access denied (told to fail)", 1),
        (401, "access denied (told to fail)", 1),
        (400, "the server answers with status 400 (told to fail)", 1),
        (503, "the server is busy (told to fail) (tried 2 times)", 2),
        (500, "the server answers with status 500 (told to fail) (tried 2 times)", 2),
        (502, "the server answers with status 502 (tried 2 times)", 2),
    ],
)
def test_what_fails_is_said_plainly_and_asked_again_where_that_helps(
    status: int, words: str, asked: int, gcs: Google, capfd: pytest.CaptureFixture[str]
) -> None:
    gcs.failing.append(lambda method, path: status if "/upload/" in path else None)
    assert refused(f"{gcs.url}/runs") == f"{gcs.url}/runs/x: cannot be written: {words}"
    assert sum("/upload/" in line for line in gcs.requests) == asked  # and not six times by gcsfs itself
    assert capfd.readouterr() == ("", "")


def test_a_store_that_was_busy_is_asked_again(gcs: Google) -> None:
    left = [503, 429]
    gcs.failing.append(lambda method, path: left.pop() if left else None)
    folder = open_folder(f"{gcs.url}/runs")
    folder.write("x", b"data")
    assert folder.read("x") == b"data"


def test_a_reply_that_is_lost_after_a_lease_was_made(gcs: Google) -> None:
    """The second try meets the first one's file, which is its own."""
    folder = open_folder(f"{gcs.url}/runs")
    open_folder(f"{gcs.url}/runs").write("lease", b"mine")
    assert folder.create("lease", b"mine")
    assert not folder.create("lease", b"yours")
    conditions = [line for line in gcs.requests if "/upload/" in line]
    assert len(conditions) == 3


def test_a_server_that_is_away(gcs: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        assert f"the server does not answer (STORAGE_EMULATOR_HOST is {address})" in refused("gs://bucket/runs")


def test_credentials_that_are_no_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are not passed over for others, or for none."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(StorageError, match=r"gs://: cannot be used: no credentials.*GOOGLE_APPLICATION_CREDENTIALS"):
        open_folder("gs://bucket/runs")
    (tmp_path / "odd.json").write_text('{"type": "canary"}')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "odd.json"))
    with pytest.raises(StorageError, match=r"gs://: cannot be used: no credentials"):
        open_folder("gs://bucket/runs")


def test_credentials_that_cannot_be_had_just_now_are_asked_for_again() -> None:
    """The server of a machine's credentials, or of tokens, did not answer; a token ran out."""
    from gcsfs.retry import HttpError
    from google.auth.exceptions import RefreshError, TransportError

    assert understand(RefreshError(TransportError("no answer")), "gs").worth_trying_again
    assert understand(RefreshError("busy", retryable=True), "gs").worth_trying_again
    assert understand(HttpError({"code": 401, "message": "Invalid Credentials"}), "gs").worth_trying_again
    assert not understand(RefreshError("invalid_grant: account not found"), "gs").worth_trying_again
    assert not understand(HttpError({"code": 401, "message": "Anonymous caller"}), "gs").worth_trying_again
