"""A folder kept at a URI: what is sent when, in which pieces, and what happens when it cannot be sent."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest
from chaos import ChaosFileSystem, Fault

from dbp.errors import LeaseLostError, StorageError
from dbp.storage import mirror as module
from dbp.storage.mirror import Mirror
from dbp.storage.remote import open_folder


def mirror_of(local: Path, uri: str | None = None) -> Mirror:
    local.mkdir(exist_ok=True)
    return Mirror(local, open_folder(uri or f"memory://{uuid.uuid4().hex}/a"), frozenset({"lines"}), "status.json")


def test_put_is_there_when_it_returns(tmp_path: Path) -> None:
    mirror = mirror_of(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x").write_bytes(b"data")
    mirror.put(tmp_path / "deep" / "x")
    assert mirror.remote.read("deep/x") == b"data"
    assert mirror.complete


def test_lines_are_kept_in_pieces_of_which_the_last_is_sent_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 10)
    mirror = mirror_of(tmp_path)
    sent: list[str] = []
    monkeypatch.setattr(
        mirror.remote, "write", lambda name, data, write=mirror.remote.write: (sent.append(name), write(name, data))
    )
    lines, whole = tmp_path / "lines", b""
    for piece in (b"", b"abc", b"defghij", b"", b"k", b"x" * 25, b"y" * 4, b"z"):
        whole += piece
        lines.write_bytes(whole)
        mirror.put(lines)
        other = mirror_of(tmp_path / f"other-{len(whole)}", mirror.remote.uri)
        assert other.fetch(other.local / "lines")
        assert (other.local / "lines").read_bytes() == whole
    assert mirror.remote.names() == ["lines", "lines.00001", "lines.00002", "lines.00003", "lines.00004"]
    assert sent == [
        "lines", "lines", "lines", "lines.00001", "lines.00001", "lines.00002", "lines.00003", "lines.00003", "lines.00004"
    ]  # fmt: skip


def test_another_run_goes_on_with_lines_where_they_end(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 4)
    first = mirror_of(tmp_path / "first")
    (first.local / "lines").write_bytes(b"abcdef")
    first.put(first.local / "lines")
    second = mirror_of(tmp_path / "second", first.remote.uri)
    second.fetch(second.local / "lines")
    with open(second.local / "lines", "ab") as file:
        file.write(b"ghi")
    second.put(second.local / "lines")
    third = mirror_of(tmp_path / "third", first.remote.uri)
    third.fetch(third.local / "lines")
    assert (third.local / "lines").read_bytes() == b"abcdefghi"


def test_a_missing_file_is_not_fetched(tmp_path: Path) -> None:
    mirror = mirror_of(tmp_path)
    assert not mirror.fetch(tmp_path / "lines")
    assert not mirror.fetch(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_the_status_is_sent_last(tmp_path: Path, chaos: type[ChaosFileSystem]) -> None:
    """At the URI, a status that says the job ended means that all the rest is there."""
    mirror = mirror_of(tmp_path, "chaos://b/a")
    for name in ("status.json", "lines", "x"):
        (tmp_path / name).write_bytes(b"data")
        mirror.soon(tmp_path / name)
    chaos.faults.append(Fault("put", "403", None, name="/x"))
    with pytest.raises(StorageError, match="x: cannot be written: access denied"):
        mirror.flush()
    assert not mirror.remote.exists("status.json")
    assert not mirror.complete
    chaos.faults.clear()
    mirror.flush()
    assert mirror.remote.names() == ["lines", "status.json", "x"]
    assert mirror.complete


def test_the_thread_sends_what_was_noted_and_warns_once_when_it_cannot(
    tmp_path: Path, chaos: type[ChaosFileSystem]
) -> None:
    mirror = mirror_of(tmp_path, "chaos://b/a")
    (tmp_path / "x").write_bytes(b"data")
    warned, heard = threading.Event(), []
    chaos.faults.append(Fault("put", "503", None))
    mirror.soon(tmp_path / "x")
    mirror.begin(lambda: None, lambda text: (heard.append(text), warned.set()), interval=0.01)
    assert warned.wait(60)
    chaos.faults.clear()
    mirror.flush()
    assert mirror.remote.read("x") == b"data"
    (text,) = heard
    assert "chaos://b/a/x: cannot be written: the server is busy" in text
    assert "training goes on, and status and metrics at chaos://b/a are behind" in text


def test_nothing_is_sent_when_a_newer_run_owns_the_place(tmp_path: Path) -> None:
    mirror = mirror_of(tmp_path)
    (tmp_path / "x").write_bytes(b"data")

    def lost() -> None:
        raise LeaseLostError("a newer run")

    mirror.begin(lost, lambda text: None, interval=60)
    mirror.soon(tmp_path / "x")
    for send in (lambda: mirror.put(tmp_path / "x"), mirror.flush):
        with pytest.raises(LeaseLostError):
            send()
    assert mirror.remote.names() == []
