"""A job directory from a stranger, and who may read one's own: links, pipes, file modes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from bad_input.conftest import ENVIRONMENT, Dbp

DBP = Path(sys.executable).with_name("dbp")
MORE = ("resume", "a-1", "--set", "training.max_steps=9")


@pytest.fixture
def trained(dbp: Dbp, job: Path, tmp_path: Path) -> Path:
    """The directory of a finished job, and beside the storage folder a file and a folder that are nobody's business."""
    assert dbp("run", "job.yaml", "--id", "a-1", "--quiet").code == 0
    (tmp_path / "home").mkdir()
    (tmp_path / "home/profile").write_text("mine\n")
    return tmp_path / "runs/a-1"


@pytest.mark.parametrize("name", ["log.txt", "metrics.jsonl"])
def test_lines_are_not_written_through_a_link(dbp: Dbp, trained: Path, tmp_path: Path, name: str) -> None:
    """Else resuming a stranger's job would write lines of his into a file of mine."""
    (trained / name).unlink()
    (trained / name).symlink_to(tmp_path / "home/profile")
    ran = dbp(*MORE)
    assert (ran.code, "Traceback" in ran.err) in {(1, False), (2, False)}
    assert f"{name}: cannot be opened for appending: the path has too many symbolic links, or is one" in ran.err
    assert (tmp_path / "home/profile").read_text() == "mine\n"


@pytest.mark.parametrize("name", ["status.json", "environment.json", "model.safetensors"])
def test_a_link_is_replaced_not_written_through(dbp: Dbp, trained: Path, tmp_path: Path, name: str) -> None:
    """The new file takes the link's place; what it led to stays."""
    shutil.copy(trained / name, tmp_path / "home/kept")
    kept = (tmp_path / "home/kept").read_bytes()
    (trained / name).unlink()
    (trained / name).symlink_to(tmp_path / "home/kept")
    ran = dbp(*MORE)
    assert ran.code == 0, ran.err
    assert not (trained / name).is_symlink()
    assert (tmp_path / "home/kept").read_bytes() == kept


def test_a_linked_folder_of_checkpoints_is_refused(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """Old checkpoints are removed, and leftovers too: not in a folder elsewhere."""
    shutil.move(trained / "checkpoints", tmp_path / "home/other")
    (trained / "checkpoints").symlink_to(tmp_path / "home/other")
    (tmp_path / "home/other/.dbp-0.tmp").write_text("somebody's")
    dbp(*MORE).refuses("runs/a-1/checkpoints: a symbolic link; expected a folder")
    assert (tmp_path / "home/other/.dbp-0.tmp").exists()


def test_a_linked_run_of_a_sweep_is_refused(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """At every level: the folder of runs, one of them, its checkpoints."""
    assert dbp("run", "job.yaml", "--id", "a-1", "--quiet", "--set", "training.restarts=2").code == 0
    members = tmp_path / "runs/a-1/members"
    for place in (members / "001/checkpoints", members / "002", members):
        moved = tmp_path / f"moved-{place.name}"
        if not place.exists():
            place.mkdir()
        shutil.move(place, moved)
        place.symlink_to(moved)
        dbp("resume", "a-1").refuses(f"{place.relative_to(tmp_path)}: a symbolic link; expected a folder")
        place.unlink()
        shutil.move(moved, place)


def test_a_linked_checkpoint_is_passed_over(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """It may be any file of the machine; the one before it serves."""
    newest = trained / "checkpoints/step-00000006.safetensors"
    shutil.move(newest, tmp_path / "home/c")
    newest.symlink_to(tmp_path / "home/c")
    ran = dbp(*MORE)
    assert ran.code == 0, ran.err
    assert "step-00000006.safetensors: cannot be read: the path has too many symbolic links, or is one" in ran.err


def test_a_pipe_keeps_nobody_waiting(dbp: Dbp, trained: Path) -> None:
    """Under the name of any record: each command ends. (The suite's time limit would end one that does not.)"""
    readers = {
        "status.json": (("list",), ("status", "a-1")),
        "metrics.jsonl": (("plot", "a-1", "--terminal"), ("verify", "a-1")),
        "log.txt": (("logs", "a-1"),),
        "environment.json": (("verify", "a-1"),),
        "submission.json": (("status", "a-1"),),
        "job.yaml": (("status", "a-1"), ("verify", "a-1")),
    }
    for name, commands in readers.items():
        with suppress(FileNotFoundError):
            (trained / name).rename(trained / "kept")
        os.mkfifo(trained / name)
        try:
            for command in commands:
                ran = dbp(*command)
                assert ran.code in (0, 1, 2)
                assert "Traceback" not in ran.err
                assert "bug in dbp" not in ran.err
        finally:
            with suppress(OSError):  # whoever waits for a writer gets one, and the end of the file
                os.close(os.open(trained / name, os.O_WRONLY | os.O_NONBLOCK))
            (trained / name).unlink()
        with suppress(FileNotFoundError):
            (trained / "kept").rename(trained / name)


def test_a_record_that_never_ends(dbp: Dbp, trained: Path) -> None:
    """A link to a device: refused as no regular file."""
    for name in ("status.json", "metrics.jsonl", "log.txt"):
        (trained / name).rename(trained / f"{name}.kept")
        (trained / name).symlink_to("/dev/zero")
        for command in (("logs", "a-1"), ("plot", "a-1", "--terminal"), ("status", "a-1")):
            ran = dbp(*command)
            assert ran.code == 0 or "not a regular file" in ran.err
            assert "Traceback" not in ran.err
        (trained / name).unlink()
        (trained / f"{name}.kept").rename(trained / name)


def test_deleting_follows_no_link(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """The links go, what they lead to stays."""
    (trained / "elsewhere").symlink_to(tmp_path / "home")
    shutil.rmtree(trained / "checkpoints")
    (trained / "checkpoints").symlink_to(tmp_path / "home")
    assert dbp("delete", "a-1", "--yes").code == 0
    assert not trained.exists()
    assert (tmp_path / "home/profile").read_text() == "mine\n"


def test_fetching_takes_no_link(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """A file under a known name that is a link to a secret is not among what is fetched."""
    (trained / "log.txt").unlink()
    (trained / "log.txt").symlink_to(tmp_path / "home/profile")
    ran = dbp("fetch", "a-1", "-o", "fetched")
    assert ran.code == 0, ran.err
    assert (tmp_path / "fetched/model.safetensors").exists()
    assert not (tmp_path / "fetched/log.txt").exists()


def test_a_job_directory_is_its_owners_alone(job: Path, tmp_path: Path) -> None:
    """Whatever the umask, here the widest. What lies inside has the modes of any file of the user, and nobody else gets there."""
    command = [DBP, "run", "job.yaml", "--id", "a-1", "--quiet"]
    subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, preexec_fn=lambda: os.umask(0), check=True, capture_output=True
    )
    assert stat.S_IMODE((tmp_path / "runs/a-1").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "runs/a-1/.lock").stat().st_mode) == 0o600
    assert not [path for path in (tmp_path / "runs/a-1").rglob("*.*") if path.is_file() and path.stat().st_mode & 0o111]
