"""What travels with a job, and what stays where it is."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from small_jobs import small_job, write_table

from dbp.errors import InputError, JobFileError
from dbp.jobs.job import Job
from dbp.jobs.submission import Submission, read_submission
from dbp.workers import transfer
from dbp.workers.transfer import check_written_paths, pack, sort_files, travelling_job


def submission(**changes) -> Submission:
    return Submission(**{"job": "a-1", "attempt": 1, "action": "train", "storage": "/runs", **changes})


def test_a_small_table_travels_and_the_job_names_it_in_its_folder(tmp_path):
    job = small_job(tmp_path)
    cargo = sort_files(job, "job.yaml", elsewhere=True)
    assert cargo.inputs == {"data.train": "inputs/table.csv"}
    assert cargo.staying == ()
    text = travelling_job(job, cargo)
    assert "train: inputs/table.csv" in text
    (tmp_path / "there/inputs").mkdir(parents=True)
    (tmp_path / "there/inputs/table.csv").write_bytes((tmp_path / "table.csv").read_bytes())
    there = Job.from_text(text, folder=tmp_path / "there")
    assert there.fingerprint() == job.fingerprint()


def test_all_travelling_files_together_are_at_most_the_limit_and_the_smallest_go_first(tmp_path, monkeypatch):
    job = small_job(tmp_path)
    write_table(tmp_path / "held.csv", rows=10)
    job = small_job(tmp_path, f"data.validation={tmp_path / 'held.csv'}")
    sizes = [(tmp_path / name).stat().st_size for name in ("held.csv", "table.csv")]
    monkeypatch.setattr(transfer, "MOST_BYTES", sum(sizes))
    assert set(sort_files(job, "job", elsewhere=True).inputs) == {"data.train", "data.validation"}
    monkeypatch.setattr(transfer, "MOST_BYTES", sum(sizes) - 1)
    cargo = sort_files(job, "job", elsewhere=True)
    assert cargo.inputs == {"data.validation": "inputs/held.csv"}
    assert cargo.staying == (("data.train", str(tmp_path / "table.csv")),)


def test_a_uri_stays_and_is_not_looked_at(tmp_path):
    job = small_job(tmp_path, "data.train=s3://bucket/table.parquet")
    assert sort_files(job, "job", elsewhere=False).staying == (("data.train", "s3://bucket/table.parquet"),)


def test_a_folder_and_a_pattern_stay(tmp_path):
    """They must be there for every node, and here where the service is this machine's."""
    (tmp_path / "many").mkdir()
    write_table(tmp_path / "many/a.csv", rows=9)
    for name in ("many", "many/*.csv"):
        job = small_job(tmp_path, f"data.train={tmp_path / name}")
        assert sort_files(job, "job", elsewhere=False).staying == (("data.train", str(tmp_path / name)),)
    nothing = small_job(tmp_path, f"data.train={tmp_path}/many/*.parquet")
    assert sort_files(nothing, "job", elsewhere=True).staying
    with pytest.raises(JobFileError, match=r"data\.train: .*no file matches; below .* there is a\.csv"):
        sort_files(nothing, "job", elsewhere=False)


def test_one_file_named_twice_travels_once_and_equal_names_do_not_collide(tmp_path):
    (tmp_path / "other").mkdir()
    write_table(tmp_path / "other/table.csv", rows=9)
    job = small_job(tmp_path, f"data.validation={tmp_path / 'other/table.csv'}")
    places = sort_files(job, "job", elsewhere=True).inputs
    assert len(set(places.values())) == 2
    same = small_job(tmp_path, f"data.validation={tmp_path / 'table.csv'}")
    assert set(sort_files(same, "job", elsewhere=True).inputs.values()) == {"inputs/table.csv"}


def test_a_file_that_is_not_here_may_be_on_the_cluster_but_never_on_this_machines_own_service(tmp_path):
    job = small_job(tmp_path, f"data.train={tmp_path / 'gone.csv'}")
    assert sort_files(job, "job.yaml", elsewhere=True).staying == (("data.train", str(tmp_path / "gone.csv")),)
    with pytest.raises(JobFileError, match=r"data\.train: .*gone\.csv: no such file"):
        sort_files(job, "job.yaml", elsewhere=False)


def test_a_relative_path_that_leads_to_nothing_is_refused_wherever_the_job_runs(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(
        "data: {train: gone.csv, validation: /mnt/there.csv}\nnetwork: {start_from: s3://b/m.safetensors}\n"
    )
    with pytest.raises(JobFileError) as refused:
        check_written_paths(file)
    assert [problem.path for problem in refused.value.problems] == ["data.train"]
    check_written_paths(file, ["data.train=/mnt/elsewhere.csv"])


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, kind):
    import os

    place = tmp_path / "odd.csv"
    place.mkdir() if kind == "folder" else os.mkfifo(place)
    with pytest.raises(JobFileError, match=r"folder|not a regular file"):
        sort_files(small_job(tmp_path, f"data.train={place}"), "job", elsewhere=True)


def test_the_package_is_what_the_driver_reads(tmp_path):
    job = small_job(tmp_path)
    cargo = sort_files(job, "job", elsewhere=True)
    data = pack(submission(inputs=cargo.inputs), travelling_job(job, cargo), cargo.travelling)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert sorted(archive.namelist()) == ["inputs/table.csv", "job.yaml", "submission.json"]
        archive.extractall(tmp_path / "there")
    assert read_submission(tmp_path / "there/submission.json").inputs == {"data.train": "inputs/table.csv"}
    assert json.loads((tmp_path / "there/submission.json").read_text())["format"] == 1
    assert data == pack(submission(inputs=cargo.inputs), travelling_job(job, cargo), cargo.travelling)


def test_a_file_that_grows_while_it_is_packed_is_refused(tmp_path):
    job = small_job(tmp_path)
    cargo = sort_files(job, "job", elsewhere=True)
    with open(tmp_path / "table.csv", "a") as table:
        table.write("1,2,x,3\n")
    with pytest.raises(InputError, match="changes while it is read"):
        pack(submission(), "name: x", cargo.travelling)


@pytest.mark.parametrize("name", ["a b;$(id).csv", "größe.csv", "-rf.csv", "'\".csv"])
def test_odd_file_names_become_plain_ones(tmp_path, name):
    write_table(tmp_path / name, rows=9)
    job = small_job(tmp_path, f"data.train={json.dumps(str(tmp_path / name))}")
    (place,) = sort_files(job, "job", elsewhere=True).inputs.values()
    assert Path(place).suffix == ".csv"
    assert all(c.isascii() and (c.isalnum() or c in "._-/") for c in place)
