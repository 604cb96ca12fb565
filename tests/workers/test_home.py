"""Who writes the files of a submitted job: driver and coordinator in turn, and a dead one's successor by force."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from s3_server import S3
from small_jobs import small_job

from dbp.errors import JobDirectoryError, LeaseLostError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.working_folder import working_root
from dbp.storage.remote import open_folder
from dbp.workers.home import Home, bring_inputs, new_home
from dbp.workers.run_records import write_job


@pytest.fixture(params=["s3", "folder"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """A job directory with a table that travelled."""
    storage = f"{request.getfixturevalue('s3').url}/runs" if request.param == "s3" else str(tmp_path / "runs")
    job = small_job(tmp_path)
    with new_home(storage, "a-1") as directory:
        places = bring_inputs(directory, tmp_path, {"data.train": "table.csv"})
        write_job(directory, job)
    assert places == {"data.train": f"{storage}/a-1/inputs/data-train.csv"}
    return Home(storage, "a-1")


def test_files_that_travelled_are_in_the_job_directory(home: Home, tmp_path: Path) -> None:
    there = open_folder(home.place).read("inputs/data-train.csv")
    assert there == (tmp_path / "table.csv").read_bytes()
    with pytest.raises(JobDirectoryError, match="exists already"), new_home(home.storage, home.id):
        pass


def test_one_at_a_time_and_the_next_need_not_wait(home: Home) -> None:
    with home.owned(), pytest.raises(JobDirectoryError, match="in use by pid"), home.owned():
        pass
    with home.owned() as directory:
        assert directory.job_file.exists()
    assert not working_root().exists() or list(working_root().iterdir()) == []


def test_with_patience_the_holder_is_waited_for(home: Home) -> None:
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        with home.owned():
            begun.set()
            over.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(60)
    threading.Timer(1.0, over.set).start()
    with home.owned(60):
        assert over.is_set()
    holder.join()


def test_a_holder_that_is_taken_for_dead_and_lives_writes_nothing_more(s3: S3, tmp_path: Path) -> None:
    """As on a node that was cut off: its successor claims the lease by force, and what it wrote since stays."""
    home = Home(f"{s3.url}/runs", "a-1")
    with new_home(home.storage, home.id) as directory:
        write_job(directory, small_job(tmp_path))

    def write(directory: JobDirectory, text: str) -> None:
        directory.log_file.write_text(text)
        directory.soon(directory.log_file)

    def outlive() -> None:
        with home.owned() as dead:
            with home.owned(force=True) as alive:
                write(alive, "the new one\n")
            write(dead, "the dead one, much later\n")

    with pytest.raises(LeaseLostError, match="a newer run owns this directory"):
        outlive()
    assert open_folder(home.place).read("log.txt") == b"the new one\n"
    assert list(working_root().iterdir()) == []
    with home.owned():
        pass  # the dead one's end has not touched the lease
