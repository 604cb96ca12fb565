"""Files of record appear whole or not at all, whatever call fails."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbp.errors import StorageError
from dbp.storage import atomic_files
from dbp.storage.atomic_files import (
    atomic_path,
    make_folder,
    make_folders,
    remove_leftovers,
    storage_error,
    write_bytes,
    write_json,
    write_text,
)


class FailingCall:
    """Stands in front of a real system call and lets its Nth use fail, as a bad disk would."""

    def __init__(self, real: Callable[..., Any], number: int, code: int) -> None:
        self.real, self.number, self.code, self.calls = real, number, code, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == self.number:
            raise OSError(self.code, os.strerror(self.code))
        return self.real(*arguments, **options)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """Bytes, text and JSON come back, nothing else is left in the folder, and the umask decides the mode."""
    write_bytes(tmp_path / "a", b"\x00\xff")
    write_text(tmp_path / "b", "żółw\n")
    write_json(tmp_path / "c.json", {"x": [1, None, "é"]})
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b").read_text("utf-8") == "żółw\n"
    assert (tmp_path / "c.json").read_text("utf-8") == '{\n  "x": [\n    1,\n    null,\n    "é"\n  ]\n}\n'
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c.json"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


CALLS = [("open", 1), ("write", 1), ("write", 2), ("fsync", 1), ("close", 1), ("replace", 1)]
CODES = [
    (errno.ENOSPC, "the disk is full (6 bytes needed, "),
    (errno.EDQUOT, "the disk quota is used up"),
    (errno.EIO, "the device reported an input/output error"),
    (errno.EROFS, "the file system is read-only"),
    (errno.EACCES, "permission denied (user "),
    (errno.EMFILE, "this process has too many open files"),
]


@pytest.mark.parametrize(("code", "words"), CODES)
@pytest.mark.parametrize(("call", "number"), CALLS)
def test_a_failing_call_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, code: int, words: str
) -> None:
    """Each call x each error: the old contents stay, the temporary file goes, the message is in words."""
    target = tmp_path / "status.json"
    target.write_bytes(b"old")
    failing = FailingCall(getattr(os, call), number, code)
    with monkeypatch.context() as patch:
        if call == "write":  # three bytes at a time, so that there is a second write
            failing.real = lambda descriptor, data, real=os.write: real(descriptor, data[:3])
        patch.setattr(atomic_files.os, call, failing)
        with pytest.raises(StorageError) as caught:
            write_bytes(target, b"newnew")
    assert failing.calls >= number
    assert str(caught.value).startswith(f"{target}: cannot be written: {words}")
    assert os.listdir(tmp_path) == ["status.json"]
    assert target.read_bytes() == b"old"


def test_a_failed_fsync_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second fsync may report success for lost data; so the file is given up after the first."""
    failing = FailingCall(os.fsync, 1, errno.EIO)
    monkeypatch.setattr(atomic_files.os, "fsync", failing)
    with pytest.raises(StorageError):
        write_bytes(tmp_path / "a", b"x")
    assert failing.calls == 1


def test_the_file_and_then_its_folder_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is the protocol: fsync of the file, rename, fsync of the folder."""
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        order.append("fsync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> None:
        order.append("rename")
        replace(source, target)

    monkeypatch.setattr(atomic_files.os, "fsync", watched_fsync)
    monkeypatch.setattr(atomic_files.os, "replace", watched_replace)
    write_bytes(tmp_path / "a", b"x")
    assert order == ["fsync file", "rename", "fsync folder"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that takes one byte at a time still writes everything."""
    write = os.write
    monkeypatch.setattr(atomic_files.os, "write", lambda descriptor, data: write(descriptor, data[:1]))
    write_bytes(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_real_limits_of_the_kernel(tmp_path: Path) -> None:
    """A file-size limit set by the kernel itself is reported in words and leaves nothing."""
    code = (
        "import resource, sys; from pathlib import Path; from dbp.storage.atomic_files import write_bytes\n"
        "from dbp.errors import StorageError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_bytes(Path(sys.argv[1]), b'x' * 5000)\n"
        "except StorageError as error: print(error)"
    )
    target = tmp_path / "big"
    done = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"{target}: cannot be written: the file would be larger than the limit on file sizes (see `ulimit -f`)\n"
    )
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_a_file_or_a_folder_in_the_way(tmp_path: Path) -> None:
    """The messages name the target and what is wrong with its path."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name, words in {
        "missing/a": "no such file or folder",
        "file/a": "a part of the path is a file, not a folder",
        "folder": "a folder of that name is in the way",
        "n" * 300: "the name is too long",
    }.items():
        with pytest.raises(StorageError) as caught:
            write_bytes(tmp_path / name, b"x")
        assert str(caught.value) == f"{tmp_path / name}: cannot be written: {words}"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_names_of_255_bytes_and_symbolic_links(tmp_path: Path) -> None:
    """The longest names work; a link is replaced, what it points to stays untouched."""
    write_bytes(tmp_path / ("n" * 255), b"x")
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_bytes(b"mine")
    link.symlink_to(victim)
    write_bytes(link, b"new")
    assert victim.read_bytes() == b"mine"
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_path_for_libraries(tmp_path: Path) -> None:
    """The lent path has the target's ending; the target appears at the end of the block, also when the file was replaced."""
    target = tmp_path / "out.parquet"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".parquet"
        temporary.write_bytes(b"one")
        assert not target.exists()
    assert target.read_bytes() == b"one"
    with atomic_path(target) as temporary:
        temporary.unlink()
        temporary.write_bytes(b"two")
    assert target.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["out.parquet"]


def test_an_error_inside_the_block_keeps_the_target(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path) -> None:
    """Only dbp's own temporary files go."""
    code = (
        "import os, sys; from pathlib import Path; from dbp.storage.atomic_files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as path: os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.safetensors")], check=False)
    assert len(os.listdir(tmp_path)) == 1
    (tmp_path / "mine.tmp").write_bytes(b"x")
    (tmp_path / ".dbp-notes").write_bytes(b"x")
    assert remove_leftovers(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == [".dbp-notes", "mine.tmp"]
    assert remove_leftovers(tmp_path / "missing") == 0


def test_unknown_errors_keep_the_systems_words(tmp_path: Path) -> None:
    error = storage_error("be read", tmp_path / "a", OSError(errno.EDOM, "Odd"))
    assert str(error) == f"{tmp_path / 'a'}: cannot be read: Odd"


def test_folders_are_made_with_names_that_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new folder's name is synced in the folder above it, and so is that of one that is there already."""
    synced: list[str] = []
    monkeypatch.setattr(atomic_files, "_sync", lambda folder: synced.append(folder.name))
    (tmp_path / "a").mkdir()
    make_folders(tmp_path / "a" / "b" / "c")
    assert synced == [tmp_path.name, "a", "b"]
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a")
    assert synced[3:] == [tmp_path.name]
    make_folders(tmp_path / "a" / "b" / "c")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folders(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_folders(tmp_path / "file" / "x")


def test_a_folder_whose_name_may_not_last_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files.os, "fsync", FailingCall(os.fsync, 1, errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        make_folder(tmp_path / "a")
    assert os.listdir(tmp_path) == []
